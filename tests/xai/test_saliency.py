from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from captum.attr import LayerGradCam
from numpy.typing import NDArray
from torch import nn

from xai.errors import EmptyStructureError, SaliencyError
from xai.saliency import grad_cam, grad_cam_on_embedding, normalise_saliency


class Paper(nn.Module):
    """Channels a₀ = x and a₁ = −x; logits 3·a₀ + a₁ = 2·x.

    Inside a mask of m of n pixels the channel weights are 3·m/n and 1·m/n, so that the map is 2·x·m/n everywhere.
    """

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Conv2d(1, 2, 1, bias=False)
        self.head = nn.Conv2d(2, 1, 1, bias=False)
        self.unused = nn.Conv2d(1, 2, 1)
        with torch.no_grad():
            self.features.weight[:] = torch.tensor([1.0, -1.0]).view(2, 1, 1, 1)
            self.head.weight[:] = torch.tensor([3.0, 1.0]).view(1, 2, 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(x))[:, 0]


@pytest.fixture
def image() -> torch.Tensor:
    return torch.randn(2, 1, 6, 8, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def mask() -> NDArray[np.bool_]:
    mask = np.zeros((2, 6, 8), dtype=bool)
    mask[0, 1:4, 2:6] = True  # 12 of 48 pixels
    mask[1, 0, 0:6] = True  # 6 of 48
    return mask


@pytest.fixture
def sam(tiny_sam_builder: Any) -> Any:
    return tiny_sam_builder()


def sam_forward(sam: Any) -> Any:
    def forward(images: torch.Tensor) -> torch.Tensor:
        box = torch.tensor([[[5.0, 5.0, 40.0, 44.0]]]).repeat(len(images), 1, 1)
        return sam(pixel_values=images, input_boxes=box, multimask_output=False).pred_masks[:, 0, 0]

    return forward


def test_the_map_is_what_the_paper_says(image: torch.Tensor, mask: NDArray[np.bool_]) -> None:
    network = Paper()
    cam = grad_cam(network, network.features, image, mask, relu=False)
    expected = 2 * image[:, 0].numpy() * np.array([12 / 48, 6 / 48])[:, None, None]
    assert cam.dtype == np.float32
    np.testing.assert_allclose(cam, expected, atol=1e-6)
    np.testing.assert_allclose(grad_cam(network, network.features, image, mask), np.maximum(expected, 0), atol=1e-6)


def test_items_of_a_batch_do_not_mix_and_inputs_stay_as_they_are(image: torch.Tensor, mask: NDArray[np.bool_]) -> None:
    network = Paper()
    before = image.clone()
    together = grad_cam(network, network.features, image, mask)
    np.testing.assert_allclose(together[1:], grad_cam(network, network.features, image[1:], mask[1:]), atol=1e-7)
    assert torch.equal(image, before)
    assert not image.requires_grad
    assert all(parameter.grad is None for parameter in network.parameters())
    assert not network.features._forward_hooks


def test_arrays_tensors_and_frozen_parameters_give_the_same_map(image: torch.Tensor, mask: NDArray[np.bool_]) -> None:
    network = Paper()
    expected = grad_cam(network, network.features, image, mask)
    with torch.inference_mode():
        embedded = image * 1.0
    network.requires_grad_(False)
    for inputs in (image.numpy(), embedded):
        with torch.no_grad():
            cam = grad_cam(network, network.features, inputs, torch.from_numpy(mask))
        np.testing.assert_array_equal(cam, expected)


def test_a_coarse_layer_is_upsampled_to_the_input_or_to_a_given_size() -> None:
    network = nn.Sequential(nn.Conv2d(1, 3, 2, stride=2), nn.Conv2d(3, 1, 1))
    image = torch.ones(1, 1, 8, 12)

    def forward(x: torch.Tensor) -> torch.Tensor:
        return network(x)[:, 0]

    mask = np.ones((1, 4, 6), dtype=bool)
    flat = grad_cam(forward, network[0], image, mask, relu=False)
    assert flat.shape == (1, 8, 12)
    np.testing.assert_allclose(flat, flat[0, 0, 0], rtol=1e-5)  # a constant image has a constant map
    assert grad_cam(forward, network[0], image, mask, size=(5, 7)).shape == (1, 5, 7)


def test_the_neck_of_sam_is_explained_and_equals_the_cached_embedding(sam: Any) -> None:
    images = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    forward = sam_forward(sam)
    with torch.inference_mode():
        mask = (forward(images) > 0).numpy()
        embedding = sam.get_image_embeddings(images)
    cam = grad_cam(forward, sam.vision_encoder.neck, images, mask)
    assert cam.shape == (1, 64, 64)
    assert cam.max() > 0

    def decode(embedding: torch.Tensor) -> torch.Tensor:
        box = torch.tensor([[[5.0, 5.0, 40.0, 44.0]]])
        return sam(image_embeddings=embedding, input_boxes=box, multimask_output=False).pred_masks[:, 0, 0]

    cached = grad_cam_on_embedding(decode, embedding, mask, size=(64, 64))
    np.testing.assert_allclose(cached, cam, rtol=1e-4, atol=1e-4 * cam.max())


def test_a_block_of_sam_would_give_a_wrong_map_and_is_refused(sam: Any) -> None:
    images = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    forward, block = sam_forward(sam), sam.vision_encoder.layers[-1]
    mask = torch.zeros(1, 32, 32)
    mask[:, 8:20, 8:20] = 1

    def target(x: torch.Tensor) -> torch.Tensor:
        return (forward(x) * mask).flatten(1).sum(1)

    wrong = LayerGradCam(target, block).attribute(images, relu_attributions=True).detach()
    assert wrong.shape == (1, 1, 8, 24)  # captum does not mind: a picture of width by channel

    kept: list[torch.Tensor] = []
    hook = block.register_forward_hook(lambda module, arguments, output: kept.append(output))
    (gradient,) = torch.autograd.grad(target(images).sum(), kept)
    hook.remove()
    right = torch.relu((gradient.mean((1, 2), keepdim=True) * kept[0]).sum(3)).detach()
    assert right.shape == (1, 8, 8)
    resized = nn.functional.interpolate(wrong, (8, 8), mode="bilinear")[0, 0]
    assert abs(np.corrcoef(resized.numpy().ravel(), right.numpy().ravel())[0, 1]) < 0.5

    with pytest.raises(SaliencyError, match=r"channels last.*neck"):
        grad_cam(forward, block, images, mask.bool())


def test_normalising_divides_the_whole_volume_by_one_number() -> None:
    volume = np.stack([np.full((2, 2), 4.0), np.full((2, 2), 1.0)])
    np.testing.assert_allclose(normalise_saliency(volume), volume / 4)
    assert normalise_saliency(volume - 5).min() == -1.0
    assert (normalise_saliency(np.zeros((2, 2))) == 0).all()
    with pytest.raises(SaliencyError, match="finite"):
        normalise_saliency([np.nan, 1.0])


def test_masks_that_move_are_empty_soft_or_of_another_shape_are_refused(
    image: torch.Tensor, mask: NDArray[np.bool_]
) -> None:
    network = Paper()

    def explain(frozen_mask: Any) -> None:
        grad_cam(network, network.features, image, frozen_mask)

    with pytest.raises(SaliencyError, match="frozen"):
        explain(torch.sigmoid(network(image)))
    with pytest.raises(SaliencyError, match="zeros and ones"):
        explain(mask * 0.3)
    with pytest.raises(SaliencyError, match="zeros and ones"):
        explain(mask[0])
    with pytest.raises(SaliencyError, match="mask's shape"):
        explain(mask[:, :, 1:])
    mask[1] = False
    with pytest.raises(EmptyStructureError, match=r"items \[1\]"):
        explain(mask)


def test_layers_that_do_not_run_run_twice_or_do_not_matter_are_refused(
    image: torch.Tensor, mask: NDArray[np.bool_]
) -> None:
    network = Paper()
    with pytest.raises(SaliencyError, match="ran 0 times"):
        grad_cam(network, network.unused, image, mask)
    with pytest.raises(SaliencyError, match="ran 2 times"):
        grad_cam(lambda x: network(x) + network(x), network.features, image, mask)

    def forward_beside(x: torch.Tensor) -> torch.Tensor:
        network.unused(x)
        return network(x)

    with pytest.raises(SaliencyError, match="does not reach"):
        grad_cam(forward_beside, network.unused, image, mask)


def test_a_forward_pass_without_gradient_and_inputs_without_channels_are_refused(
    image: torch.Tensor, mask: NDArray[np.bool_]
) -> None:
    network = Paper()
    with pytest.raises(SaliencyError, match="no_grad"):
        grad_cam(torch.no_grad()(network.forward), network.features, image, mask)
    with pytest.raises(SaliencyError, match="B, C, H, W"):
        grad_cam(network, network.features, image[:, 0], mask)


def test_a_layer_that_returns_several_tensors_is_refused(mask: NDArray[np.bool_], image: torch.Tensor) -> None:
    class Pair(nn.Module):
        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return x, x

    pair = Pair()
    with pytest.raises(SaliencyError, match="one tensor"):
        grad_cam(lambda x: pair(x)[0][:, 0], pair, image, mask)
