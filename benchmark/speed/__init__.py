"""How fast the environments are, against MuJoCo alone and against another suite."""
