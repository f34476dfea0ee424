"""splatlens: viewer, converter and server for trained radiance fields.

    import splatlens
    splatlens.convert("scene.ply", "scene.lens")
    with splatlens.open("scene.lens") as scene:
        picture = scene.render(scene.cameras[0], budget=200_000)
    splatlens.serve("scenes/")
"""

__version__ = "0.1.0"

# After __version__: modules below read it.
from splatlens.api import Camera, LensError, Scene, Splats, convert, open, render, serve

__all__ = ["Camera", "LensError", "Scene", "Splats", "__version__", "convert", "open", "render", "serve"]
