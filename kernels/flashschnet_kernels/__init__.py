"""The operators of a coarse-grained SchNet step. They know tensors, not proteins.

Every operator is a folder with a readable PyTorch reference that defines what is computed;
`flashschnet_kernels.plan` says which implementation of each one runs.
"""
