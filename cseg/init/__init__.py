"""From a folder of images to a config that runs, and a picture to check it by."""
