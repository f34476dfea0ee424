"""The scene: file format, LOD tree, cut, frame plan and the headless renderer. Imports neither aiohttp nor a format library."""
