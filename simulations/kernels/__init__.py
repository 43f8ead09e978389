"""Compiled loops: arrays in, `out` filled. Each kernel's plain-Python twin is its `.py_func`."""
