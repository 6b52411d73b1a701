"""Pictures of images for people: planes, histograms, HTML, and external viewers.

matplotlib is imported when something is drawn, never before.
"""
