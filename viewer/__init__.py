"""The scene: file format, LOD tree, cut, frame plan, headless renderer. No aiohttp, no format library in here."""
