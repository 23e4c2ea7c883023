"""The real architectures with the smallest possible shapes and random weights."""

from __future__ import annotations

import json

import pytest
import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderKLTemporalDecoder,
    DDIMScheduler,
    DDPMScheduler,
    EulerDiscreteScheduler,
    StableDiffusionPipeline,
    StableDiffusionUpscalePipeline,
    StableVideoDiffusionPipeline,
    UNet2DConditionModel,
    UNetSpatioTemporalConditionModel,
)
from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from transformers import (
    CLIPConfig,
    CLIPImageProcessor,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTokenizer,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
    Sam2Config,
    Sam2HieraDetConfig,
    Sam2MaskDecoderConfig,
    Sam2Model,
    Sam2PromptEncoderConfig,
    Sam2VisionConfig,
)

CHANNELS = (32, 64)
WIDTH = 32


def unet(**more):
    shape = {
        "block_out_channels": CHANNELS,
        "layers_per_block": 1,
        "sample_size": 16,
        "in_channels": 4,
        "out_channels": 4,
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
        "cross_attention_dim": WIDTH,
        "attention_head_dim": 8,
    }
    return UNet2DConditionModel(**(shape | more))


def autoencoder(channels=CHANNELS):
    count = len(channels)
    return AutoencoderKL(
        block_out_channels=channels,
        down_block_types=["DownEncoderBlock2D"] * count,
        up_block_types=["UpDecoderBlock2D"] * count,
        latent_channels=4,
    )


def text_encoder(folder):
    """Return a tokenizer of single letters, and an encoder."""
    letters = [*"abcdefghijklmnopqrstuvwxyz ", "<|startoftext|>", "<|endoftext|>"]
    names = letters + [f"{letter}</w>" for letter in letters[:26]]
    (folder / "vocab.json").write_text(json.dumps({n: i for i, n in enumerate(names)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = CLIPTokenizer(
        str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=77
    )
    config = CLIPTextConfig(
        hidden_size=WIDTH,
        intermediate_size=37,
        num_attention_heads=4,
        num_hidden_layers=2,
        vocab_size=len(names) + 8,
        bos_token_id=27,
        eos_token_id=28,
        pad_token_id=28,
    )
    return tokenizer, CLIPTextModel(config)


VISION = {
    "hidden_size": WIDTH,
    "projection_dim": WIDTH,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 37,
    "image_size": 32,
    "patch_size": 16,
}
SEEN = {"image_size": 224, "patch_size": 32}
"""The video pipeline shows its encoder pictures of this size, whatever the model says."""
EXTRACTOR = {"crop_size": {"height": 32, "width": 32}, "size": {"shortest_edge": 32}}


def save_stable_diffusion(root, folder):
    tokenizer, encoder = text_encoder(folder)
    model = unet()
    StableDiffusionPipeline(
        unet=model,
        vae=autoencoder(),
        text_encoder=encoder,
        tokenizer=tokenizer,
        scheduler=DDIMScheduler(clip_sample=False, set_alpha_to_one=False, steps_offset=1),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(root / "models--tiny--sd" / "snapshots" / "abc")
    model.add_adapter(LoraConfig(r=2, target_modules=["to_q", "to_v"], init_lora_weights=False))
    StableDiffusionPipeline.save_lora_weights(
        root / "tiny" / "lora", unet_lora_layers=get_peft_model_state_dict(model)
    )


def save_upscaler(root, folder):
    tokenizer, encoder = text_encoder(folder)
    StableDiffusionUpscalePipeline(
        unet=unet(in_channels=7, num_class_embeds=100),
        low_res_scheduler=DDPMScheduler(),
        scheduler=DDIMScheduler(prediction_type="v_prediction", steps_offset=1),
        vae=autoencoder((32, 32, 64)),
        text_encoder=encoder,
        tokenizer=tokenizer,
        max_noise_level=350,
    ).save_pretrained(root / "tiny" / "upscaler")


def save_video(root):
    StableVideoDiffusionPipeline(
        unet=UNetSpatioTemporalConditionModel(
            block_out_channels=CHANNELS,
            layers_per_block=2,
            sample_size=32,
            in_channels=8,
            out_channels=4,
            down_block_types=("CrossAttnDownBlockSpatioTemporal", "DownBlockSpatioTemporal"),
            up_block_types=("UpBlockSpatioTemporal", "CrossAttnUpBlockSpatioTemporal"),
            cross_attention_dim=WIDTH,
            num_attention_heads=8,
            projection_class_embeddings_input_dim=96,
            addition_time_embed_dim=32,
            num_frames=3,
        ),
        image_encoder=CLIPVisionModelWithProjection(CLIPVisionConfig(**VISION | SEEN)),
        scheduler=EulerDiscreteScheduler(
            prediction_type="v_prediction",
            timestep_type="continuous",
            use_karras_sigmas=True,
            sigma_min=0.002,
            sigma_max=700.0,
        ),
        vae=AutoencoderKLTemporalDecoder(
            block_out_channels=CHANNELS,
            down_block_types=["DownEncoderBlock2D"] * 2,
            latent_channels=4,
        ),
        feature_extractor=CLIPImageProcessor(**EXTRACTOR),
    ).save_pretrained(root / "tiny" / "video")


def save_checker(root):
    folder = root / "models--CompVis--stable-diffusion-safety-checker" / "snapshots" / "abc"
    config = CLIPConfig(vision_config=VISION, projection_dim=WIDTH)
    StableDiffusionSafetyChecker(config).save_pretrained(folder)
    CLIPImageProcessor(**EXTRACTOR).save_pretrained(folder)


def save_sam2(root):
    backbone = Sam2HieraDetConfig(
        hidden_size=12,
        num_attention_heads=1,
        image_size=[128, 128],
        window_positional_embedding_background_size=[7, 7],
        blocks_per_stage=[1, 2, 1, 1],
        embed_dim_per_stage=[12, 24, 48, 96],
        num_attention_heads_per_stage=[1, 2, 4, 8],
        window_size_per_stage=[8, 4, 14, 7],
        global_attention_blocks=[2],
    )
    vision = Sam2VisionConfig(
        backbone_config=backbone,
        backbone_channel_list=[96, 48, 24, 12],
        backbone_feature_sizes=[[32, 32], [16, 16], [8, 8]],
        fpn_hidden_size=32,
    )
    prompts = Sam2PromptEncoderConfig(hidden_size=32, image_size=128, mask_input_channels=4)
    masks = Sam2MaskDecoderConfig(
        hidden_size=32, mlp_dim=64, num_attention_heads=2, iou_head_hidden_dim=32
    )
    config = Sam2Config(
        vision_config=vision, prompt_encoder_config=prompts, mask_decoder_config=masks
    )
    folder = root / "tiny" / "sam2"
    Sam2Model(config).save_pretrained(folder)


@pytest.fixture(scope="session")
def torch_dir(tmp_path_factory):
    """Return a folder with one model of each kind, and a LoRA."""
    torch.manual_seed(0)
    root = tmp_path_factory.mktemp("torch-models")
    folder = tmp_path_factory.mktemp("tokenizer")
    save_stable_diffusion(root, folder)
    save_upscaler(root, folder)
    save_video(root)
    save_checker(root)
    save_sam2(root)
    return root
