"""The nnInteractive server protocol: napari, 3D Slicer and MITK use this engine through ``nninteractive-client``.

`routes` are its calls, `wire` its arrays, `seats` what is known of each client, `interactions` turns voxels into
prompts, and `drawing` does what a call asks for in a session like any other: journalled, listed, and open to REST.
"""
