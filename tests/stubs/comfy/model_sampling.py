"""How ComfyUI's models scale their states."""

import torch


class EPS:
    sigma_max, sigma_min = torch.tensor(14.6), torch.tensor(0.03)

    def noise_scaling(self, sigma, noise, latent_image, max_denoise=False):
        scaled = noise * (torch.sqrt(1 + sigma**2) if max_denoise else sigma)
        scaled += latent_image
        return scaled

    def inverse_noise_scaling(self, sigma, latent):
        return latent


class CONST:
    sigma_max, sigma_min = torch.tensor(1.0), torch.tensor(0.01)

    def noise_scaling(self, sigma, noise, latent_image, max_denoise=False):
        return sigma * noise + (1 - sigma) * latent_image

    def inverse_noise_scaling(self, sigma, latent):
        return latent / (1 - sigma)
