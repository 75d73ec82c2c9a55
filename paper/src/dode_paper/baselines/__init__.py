"""The methods that train a network to need fewer steps, which the paper compares with: small, real, plain torch.

direct (Luhman & Luhman 2021), progressive (Salimans & Ho 2022), guided (Meng et al. 2023), consistency (Song et al.
2023).  Each loss is a function of networks and tensors; `loop` trains; `students` writes and opens what comes out.
"""
