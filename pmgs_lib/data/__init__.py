"""Data: chunk files, importers, procedural scenes, protocols, datasets. A dataset never knows a model."""

from pmgs_lib._lazy import lazy_names

NAMES = {
    "ChunkFolder": "pmgs_lib.data.folders",
    "ChunkScene": "pmgs_lib.data.chunks",
    "decode_image": "pmgs_lib.data.chunks",
    "encode_jpeg": "pmgs_lib.data.chunks",
    "read_chunk": "pmgs_lib.data.chunks",
    "write_chunk": "pmgs_lib.data.chunks",
    "write_scenes": "pmgs_lib.data.folders",
    "update_index": "pmgs_lib.data.folders",
    "make_scene": "pmgs_lib.data.scenes.embedded",
    "make_scenes": "pmgs_lib.data.scenes.embedded",
    "SceneDataset": "pmgs_lib.data.dataset",
    "TrainingDataset": "pmgs_lib.data.dataset",
    "open_dataset": "pmgs_lib.data.dataset",
    "training_loader": "pmgs_lib.data.dataset",
    "BoundedSampler": "pmgs_lib.data.sampling",
    "Protocol": "pmgs_lib.data.protocols",
    "load_protocol": "pmgs_lib.data.protocols",
    "save_protocol": "pmgs_lib.data.protocols",
    "protocol_names": "pmgs_lib.data.protocols",
    "capture_protocol": "pmgs_lib.data.capture_protocols",
    "open_scenes": "pmgs_lib.data.scene_source",
    "import_capture": "pmgs_lib.data.importers",
    "CaptureManifest": "pmgs_lib.data.manifests",
    "CollectionManifest": "pmgs_lib.data.manifests",
    "read_collection_manifest": "pmgs_lib.data.manifests",
    "catalogue_table": "pmgs_lib.data.acquisition",
    "fetch_data": "pmgs_lib.data.acquisition",
    "data_root": "pmgs_lib.data.roots",
    "dataset_folder": "pmgs_lib.data.roots",
    "read_manifest": "pmgs_lib.data.manifests",
    "SceneReport": "pmgs_lib.data.inspection",
    "inspect_scene": "pmgs_lib.data.inspection",
    "diagnose_cameras": "pmgs_lib.data.inspection",
    "judge": "pmgs_lib.data.inspection",
    "PhotosImporter": "pmgs_lib.data.importers.photos",
}

__getattr__, __dir__ = lazy_names(__name__, NAMES)
