"""Which images are trained on, validated on and tested on?"""
