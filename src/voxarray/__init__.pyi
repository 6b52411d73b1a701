"""Every public name, once; `lazy_loader` reads this at run time, mypy when it checks."""

from . import patches as patches
from . import source as source
from . import testing as testing
from . import transforms as transforms
from .archive_object import (
    Archive as Archive,
)
from .cohort import (
    Cohort as Cohort,
)
from .cohort.convert import (
    convert_cohort as convert_cohort,
)
from .cohort.verify_path import (
    verify as verify,
)
from .core.errors import (
    AccessDeniedError as AccessDeniedError,
)
from .core.errors import (
    ArchiveError as ArchiveError,
)
from .core.errors import (
    ArchiveExistsError as ArchiveExistsError,
)
from .core.errors import (
    ChecksumError as ChecksumError,
)
from .core.errors import (
    FormatError as FormatError,
)
from .core.errors import (
    GridError as GridError,
)
from .core.errors import (
    MemoryBudgetError as MemoryBudgetError,
)
from .core.errors import (
    MissingDataError as MissingDataError,
)
from .core.errors import (
    MissingFileError as MissingFileError,
)
from .core.errors import (
    MissingImageError as MissingImageError,
)
from .core.errors import (
    MissingPackageError as MissingPackageError,
)
from .core.errors import (
    ModelError as ModelError,
)
from .core.errors import (
    OperatorError as OperatorError,
)
from .core.errors import (
    OutOfRangeError as OutOfRangeError,
)
from .core.errors import (
    PandasIndexError as PandasIndexError,
)
from .core.errors import (
    SelectionError as SelectionError,
)
from .core.errors import (
    SourceChangedError as SourceChangedError,
)
from .core.errors import (
    StateError as StateError,
)
from .core.errors import (
    TransportError as TransportError,
)
from .core.errors import (
    TruncatedError as TruncatedError,
)
from .core.errors import (
    UnknownModeError as UnknownModeError,
)
from .core.errors import (
    UnsupportedError as UnsupportedError,
)
from .core.errors import (
    VoxarrayError as VoxarrayError,
)
from .core.errors import (
    VoxarrayWarning as VoxarrayWarning,
)
from .core.keys import (
    AFFINE as AFFINE,
)
from .core.keys import (
    DATA as DATA,
)
from .core.keys import (
    INTENSITY as INTENSITY,
)
from .core.keys import (
    LABEL as LABEL,
)
from .core.keys import (
    PATH as PATH,
)
from .core.keys import (
    SAMPLING_MAP as SAMPLING_MAP,
)
from .core.keys import (
    STEM as STEM,
)
from .core.keys import (
    TYPE as TYPE,
)
from .core.memory import (
    MemoryReport as MemoryReport,
)
from .formats.dicom.read import (
    DicomReader as DicomReader,
)
from .formats.record import (
    Format as Format,
)
from .formats.record import (
    SaveRequest as SaveRequest,
)
from .formats.registry import (
    open_source as open_source,
)
from .geometry.grid import (
    Grid as Grid,
)
from .image import (
    Image as Image,
)
from .image import (
    LabelMap as LabelMap,
)
from .image import (
    ScalarImage as ScalarImage,
)
from .image.monai_reader import (
    MonaiReader as MonaiReader,
)
from .image.torchio_reader import (
    TorchioReader as TorchioReader,
)
from .inference import (
    evaluate as evaluate,
)
from .inference import (
    infer as infer,
)
from .inference.cohort_scores import (
    SubjectsFailedError as SubjectsFailedError,
)
from .patches import (
    GridAggregator as GridAggregator,
)
from .patches import (
    GridSampler as GridSampler,
)
from .patches import (
    IterablePatchDataset as IterablePatchDataset,
)
from .patches import (
    LabelSampler as LabelSampler,
)
from .patches import (
    MonaiTransform as MonaiTransform,
)
from .patches import (
    PatchDataset as PatchDataset,
)
from .patches import (
    TorchIOTransform as TorchIOTransform,
)
from .patches import (
    UniformSampler as UniformSampler,
)
from .patches import (
    WeightedSampler as WeightedSampler,
)
from .saving import (
    convert as convert,
)
from .statistics.summary import (
    Statistics as Statistics,
)
from .subject import (
    Subject as Subject,
)
from .transforms import (
    Affine as Affine,
)
from .transforms import (
    Blur as Blur,
)
from .transforms import (
    Clamp as Clamp,
)
from .transforms import (
    Compose as Compose,
)
from .transforms import (
    Contour as Contour,
)
from .transforms import (
    Crop as Crop,
)
from .transforms import (
    CropOrPad as CropOrPad,
)
from .transforms import (
    EnsureShapeMultiple as EnsureShapeMultiple,
)
from .transforms import (
    Flip as Flip,
)
from .transforms import (
    HistogramStandardization as HistogramStandardization,
)
from .transforms import (
    KeepLargestComponent as KeepLargestComponent,
)
from .transforms import (
    Lambda as Lambda,
)
from .transforms import (
    Mask as Mask,
)
from .transforms import (
    OneHot as OneHot,
)
from .transforms import (
    Pad as Pad,
)
from .transforms import (
    RemapLabels as RemapLabels,
)
from .transforms import (
    RemoveLabels as RemoveLabels,
)
from .transforms import (
    Resample as Resample,
)
from .transforms import (
    RescaleIntensity as RescaleIntensity,
)
from .transforms import (
    Resize as Resize,
)
from .transforms import (
    SequentialLabels as SequentialLabels,
)
from .transforms import (
    To as To,
)
from .transforms import (
    ToCanonical as ToCanonical,
)
from .transforms import (
    ToOrientation as ToOrientation,
)
from .transforms import (
    Transform as Transform,
)
from .transforms import (
    Transpose as Transpose,
)
from .transforms import (
    ZNormalization as ZNormalization,
)
from .transforms import (
    replay as replay,
)

__version__: str

__all__: list[str]
