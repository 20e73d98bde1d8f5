"""How fast are the kernels, how much memory do they take, and against what?"""
