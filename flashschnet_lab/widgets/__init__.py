"""What a person sees and touches in JupyterLab: `viewer` shows molecules."""
