"""Every public transform, once; `lazy_loader` reads this at run time, mypy when it checks."""

from .affine import (
    Affine as Affine,
)
from .blur import (
    Blur as Blur,
)
from .bounds import (
    Crop as Crop,
)
from .bounds import (
    Pad as Pad,
)
from .clamp import (
    Clamp as Clamp,
)
from .clamp import (
    To as To,
)
from .compose import (
    Compose as Compose,
)
from .crop_or_pad import (
    CropOrPad as CropOrPad,
)
from .crop_or_pad import (
    EnsureShapeMultiple as EnsureShapeMultiple,
)
from .function import (
    Lambda as Lambda,
)
from .histogram_standardization import (
    HistogramStandardization as HistogramStandardization,
)
from .labels import (
    Contour as Contour,
)
from .labels import (
    KeepLargestComponent as KeepLargestComponent,
)
from .labels import (
    OneHot as OneHot,
)
from .labels import (
    RemapLabels as RemapLabels,
)
from .labels import (
    RemoveLabels as RemoveLabels,
)
from .labels import (
    SequentialLabels as SequentialLabels,
)
from .mask import (
    Mask as Mask,
)
from .normalization import (
    NormalizationTransform as NormalizationTransform,
)
from .orientation import (
    Flip as Flip,
)
from .orientation import (
    ToCanonical as ToCanonical,
)
from .orientation import (
    ToOrientation as ToOrientation,
)
from .orientation import (
    Transpose as Transpose,
)
from .replaying import (
    replay as replay,
)
from .resample import (
    Resample as Resample,
)
from .resample import (
    Resize as Resize,
)
from .rescale_intensity import (
    RescaleIntensity as RescaleIntensity,
)
from .transform import (
    IntensityTransform as IntensityTransform,
)
from .transform import (
    LabelTransform as LabelTransform,
)
from .transform import (
    SpatialTransform as SpatialTransform,
)
from .transform import (
    Transform as Transform,
)
from .z_normalization import (
    ZNormalization as ZNormalization,
)

__all__: list[str]
