"""Real pipelines of diffusers, tiny and untrained, as tests build, save and load them."""

import json

import diffusers
import torch

import dode

EMBEDDED = torch.linspace(-1, 1, 40).reshape(1, 5, 8)
POOLED = torch.linspace(-1, 1, 8).reshape(1, 8)


def quiet(pipe):
    pipe.set_progress_bar_config(disable=True)
    return pipe


def unet2d(**config):
    torch.manual_seed(0)
    blocks = {"block_out_channels": (8, 16), "layers_per_block": 1, "norm_num_groups": 4, "attention_head_dim": 8}
    kinds = {"down_block_types": ("DownBlock2D",) * 2, "up_block_types": ("UpBlock2D",) * 2}
    return diffusers.UNet2DModel(sample_size=8, in_channels=3, out_channels=3, **blocks, **kinds, **config)


def vae(channels=4):
    torch.manual_seed(1)
    return diffusers.AutoencoderKL(
        block_out_channels=(4,),
        down_block_types=("DownEncoderBlock2D",),
        up_block_types=("UpDecoderBlock2D",),
        latent_channels=channels,
        norm_num_groups=2,
    )


def text_unet(channels=4, **config):
    torch.manual_seed(2)
    return diffusers.UNet2DConditionModel(
        sample_size=8,
        in_channels=channels,
        out_channels=4,
        block_out_channels=(8, 16),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        norm_num_groups=4,
        attention_head_dim=2,
        **{"cross_attention_dim": 8, **config},
    )


def text_encoder(folder):
    """A CLIP text model of eight numbers a token, with a tokenizer of letters."""
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    torch.manual_seed(3)
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = ["<|startoftext|>", "<|endoftext|>", *letters, *(f"{letter}</w>" for letter in letters)]
    (folder / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=5)
    config = CLIPTextConfig(
        vocab_size=len(words),
        hidden_size=8,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=5,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
    )
    return CLIPTextModel(config).eval(), tokenizer


SD_CONFIG = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}


def stable_diffusion(kind=diffusers.StableDiffusionPipeline, encoder=(None, None), **more):
    """Stable Diffusion's parts; prompts come embedded, or with an encoder as words."""
    scheduler = diffusers.PNDMScheduler(**SD_CONFIG, steps_offset=1, skip_prk_steps=True)
    parts = {"text_encoder": encoder[0], "tokenizer": encoder[1], "safety_checker": None, "feature_extractor": None}
    parts |= {"unet": text_unet(), "vae": vae(), "scheduler": scheduler} | more
    return quiet(kind(**parts, requires_safety_checker=False))


def drawn(pipe, generator, steps, scale=3.0, n=2, **more):
    """Latents of a text-to-image call under guidance."""
    return pipe(
        prompt_embeds=EMBEDDED,
        negative_prompt_embeds=0 * EMBEDDED,
        guidance_scale=scale,
        generator=generator,
        num_inference_steps=steps,
        num_images_per_prompt=n,
        output_type="latent",
        **more,
    ).images


def sdxl(folder):
    """Stable Diffusion XL's parts, with both text models of eight numbers a token."""
    from transformers import CLIPTextModelWithProjection

    encoder, tokenizer = text_encoder(folder)
    config = type(encoder.config).from_dict(encoder.config.to_dict() | {"projection_dim": 8})
    unet = text_unet(
        cross_attention_dim=16,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=8 + 6 * 8,
    )
    parts = {"text_encoder": encoder, "tokenizer": tokenizer, "tokenizer_2": tokenizer, "unet": unet, "vae": vae()}
    parts |= {"text_encoder_2": CLIPTextModelWithProjection(config).eval()}
    scheduler = diffusers.EulerDiscreteScheduler(**SD_CONFIG)
    return quiet(diffusers.StableDiffusionXLPipeline(scheduler=scheduler, add_watermarker=False, **parts))


def dit():
    torch.manual_seed(4)
    net = diffusers.DiTTransformer2DModel(
        num_attention_heads=2,
        attention_head_dim=4,
        in_channels=4,
        out_channels=8,  # learned variances
        num_layers=1,
        sample_size=4,
        patch_size=2,
        num_embeds_ada_norm=1000,
        norm_num_groups=4,
    )
    return quiet(diffusers.DiTPipeline(transformer=net, vae=vae(), scheduler=diffusers.DDIMScheduler()))


def sd3(**config):
    torch.manual_seed(5)
    net = diffusers.SD3Transformer2DModel(
        sample_size=8,
        patch_size=1,
        in_channels=4,
        out_channels=4,
        num_layers=1,
        attention_head_dim=4,
        num_attention_heads=2,
        joint_attention_dim=8,
        caption_projection_dim=8,
        pooled_projection_dim=8,
    )
    none = dict.fromkeys([f"{part}{i}" for part in ("text_encoder", "tokenizer") for i in ("", "_2", "_3")])
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0, **config)
    return quiet(diffusers.StableDiffusion3Pipeline(transformer=net, scheduler=scheduler, vae=vae(), **none))


def sd3_call(pipe, generator, steps):
    return pipe(
        prompt_embeds=EMBEDDED,
        negative_prompt_embeds=0 * EMBEDDED,
        pooled_prompt_embeds=POOLED,
        negative_pooled_prompt_embeds=0 * POOLED,
        guidance_scale=4.0,
        generator=generator,
        num_inference_steps=steps,
        output_type="latent",
        height=8,
        width=8,
    ).images


def flux():
    torch.manual_seed(6)
    net = diffusers.FluxTransformer2DModel(
        patch_size=1,
        in_channels=4,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=8,
        pooled_projection_dim=8,
        axes_dims_rope=(4, 4, 8),
        guidance_embeds=True,
    )
    none = dict.fromkeys(["text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2"])
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True)
    return quiet(diffusers.FluxPipeline(transformer=net, scheduler=scheduler, vae=vae(1), **none))


def flux_call(pipe, generator, steps, size=16):
    return pipe(
        prompt_embeds=EMBEDDED,
        pooled_prompt_embeds=POOLED,
        guidance_scale=4.0,
        generator=generator,
        num_inference_steps=steps,
        output_type="latent",
        height=size,
        width=size,
    ).images


def wan():
    """Wan 2.2's two experts, a video of two latent frames."""

    def expert(seed):
        torch.manual_seed(seed)
        return diffusers.WanTransformer3DModel(
            patch_size=(1, 2, 2),
            num_attention_heads=2,
            attention_head_dim=12,
            in_channels=4,
            out_channels=4,
            text_dim=8,
            freq_dim=16,
            ffn_dim=16,
            num_layers=1,
            cross_attn_norm=True,
            qk_norm="rms_norm_across_heads",
            rope_max_seq_len=32,
        )

    latents = {"z_dim": 4, "latents_mean": [0.0] * 4, "latents_std": [1.0] * 4}
    coder = diffusers.AutoencoderKLWan(base_dim=3, dim_mult=[1] * 4, num_res_blocks=1, **latents)
    scheduler = diffusers.UniPCMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0
    )
    parts = {"tokenizer": None, "text_encoder": None, "vae": coder, "scheduler": scheduler, "boundary_ratio": 0.875}
    return quiet(diffusers.WanPipeline(transformer=expert(1), transformer_2=expert(2), **parts))


def wan_call(pipe, generator, steps):
    return pipe(
        prompt_embeds=EMBEDDED,
        negative_prompt_embeds=0 * EMBEDDED,
        guidance_scale=4.0,
        guidance_scale_2=3.0,
        generator=generator,
        num_inference_steps=steps,
        height=16,
        width=16,
        num_frames=5,
        output_type="latent",
    ).frames


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def fitted(pipe, call, nfe, solver="ddim", samples=4, **options):
    """A solver distilled through a pipeline's own calls."""
    with dode.from_diffusers(pipe, call) as model:
        return dode.distill(model, solver, nfe=nfe, samples=samples, **options)
