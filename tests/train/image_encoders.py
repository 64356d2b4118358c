"""Small image encoders with random weights and their image processors, written as users' folders are."""

import torch
from transformers import (
    MobileNetV2Config,
    MobileNetV2ImageProcessor,
    MobileNetV2Model,
    ResNetConfig,
    ResNetModel,
    ViTConfig,
    ViTImageProcessor,
    ViTModel,
)

SIZE = {"height": 32, "width": 32}


def tiny_vit(folder, seed=0):
    """Write a ViT of 3 layers and 32 dimensions."""
    torch.manual_seed(seed)
    config = ViTConfig(
        hidden_size=32, num_hidden_layers=3, num_attention_heads=4, intermediate_size=64, image_size=32, patch_size=8
    )
    return _written(folder, ViTModel(config), ViTImageProcessor(size=SIZE))


def tiny_resnet(folder, seed=0):
    """Write a ResNet of 4 blocks and 32 dimensions; what its batch normalisation saw is no default."""
    torch.manual_seed(seed)
    config = ResNetConfig(embedding_size=8, hidden_sizes=[8, 16, 24, 32], depths=[1, 1, 1, 1], layer_type="basic")
    return _written(folder, _seen(ResNetModel(config)), ViTImageProcessor(size=SIZE))


def tiny_mobilenet(folder, seed=0, **config):
    """Write a MobileNet-v2, whose own processor resizes the shortest edge and crops."""
    torch.manual_seed(seed)
    model = MobileNetV2Model(MobileNetV2Config(image_size=32, depth_multiplier=0.35, **config))
    processor = MobileNetV2ImageProcessor(size={"shortest_edge": 36}, crop_size=SIZE)
    return _written(folder, _seen(model), processor)


def _seen(model):
    """Let batch normalisation see noise, so that it keeps the signal of random weights alive."""
    model.train()
    with torch.no_grad():
        for _ in range(20):
            model(pixel_values=torch.randn(16, 3, 32, 32))
    return model


def _written(folder, model, processor):
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder
