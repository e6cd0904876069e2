//! The archive's content: one layer, its configuration, a manifest, and the two tables of contents.

use crate::{Architecture, ImageError, ImageReference, ImageSummary};
use flate2::{Compression, GzBuilder};
use oci_spec::image::{
    ANNOTATION_REF_NAME, ConfigBuilder, Descriptor, DescriptorBuilder, ImageConfigurationBuilder, ImageIndexBuilder,
    ImageManifestBuilder, MediaType, Os, PlatformBuilder, RootFsBuilder, Sha256Digest,
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::{
    collections::{BTreeMap, HashMap},
    io::{self, Write},
    str::FromStr,
};
use tar::{Builder, EntryType, Header};

/// Neither root nor anybody's login; what "nonroot" images use by custom.
const USER: &str = "65532:65532";
const ENTRYPOINT: &str = "/meshproof-agent";
/// Where containerd looks for the whole name of an image.
const CONTAINERD_NAME: &str = "io.containerd.image.name";

type Assembled<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// The archive of an image that runs this agent.
pub(crate) fn assemble(
    agent: &[u8],
    architecture: Architecture,
    reference: &ImageReference,
) -> Result<(Vec<u8>, ImageSummary), ImageError> {
    build(agent, architecture, reference).map_err(ImageError::Assemble)
}

fn build(agent: &[u8], architecture: Architecture, reference: &ImageReference) -> Assembled<(Vec<u8>, ImageSummary)> {
    let layer = tarball(
        &BTreeMap::from([(ENTRYPOINT[1..].to_owned(), agent.to_vec())]),
        Mode::Program,
    )?;
    let compressed = compress(&layer)?;
    let compressed_size = compressed.len() as u64;

    let mut blobs = Blobs::default();
    let root = RootFsBuilder::default()
        .typ("layers")
        .diff_ids(vec![format!("sha256:{}", sha256(&layer))])
        .build()?;
    let configuration = ImageConfigurationBuilder::default()
        .architecture(architecture)
        .os(Os::Linux)
        .rootfs(root)
        .config(
            ConfigBuilder::default()
                .user(USER)
                .entrypoint(vec![ENTRYPOINT.to_owned()])
                .working_dir("/")
                .build()?,
        )
        .build()?;
    let configuration = blobs.add(MediaType::ImageConfig, canonical(serde_json::to_value(configuration)?)?)?;
    let layer = blobs.add(MediaType::ImageLayerGzip, compressed)?;
    let manifest = ImageManifestBuilder::default()
        .schema_version(2u32)
        .media_type(MediaType::ImageManifest)
        .config(configuration.clone())
        .layers(vec![layer.clone()])
        .build()?;
    let mut manifest = blobs.add(MediaType::ImageManifest, canonical(serde_json::to_value(manifest)?)?)?;
    let digest = manifest.digest().to_string();
    manifest.set_platform(Some(
        PlatformBuilder::default()
            .architecture(architecture)
            .os(Os::Linux)
            .build()?,
    ));
    manifest.set_annotations(Some(HashMap::from([
        (CONTAINERD_NAME.to_owned(), reference.canonical()),
        (ANNOTATION_REF_NAME.to_owned(), reference.tag().to_owned()),
    ])));
    let index = ImageIndexBuilder::default()
        .schema_version(2u32)
        .media_type(MediaType::ImageIndex)
        .manifests(vec![manifest])
        .build()?;
    let docker = json!([{
        "Config": blob_path(&configuration),
        "RepoTags": [reference.canonical()],
        "Layers": [blob_path(&layer)],
    }]);

    let mut files = blobs.0;
    files.insert("oci-layout".to_owned(), br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec());
    files.insert("index.json".to_owned(), canonical(serde_json::to_value(index)?)?);
    files.insert("manifest.json".to_owned(), canonical(docker)?);
    let summary = ImageSummary {
        reference: reference.to_string(),
        digest,
        architecture,
        compressed_size,
    };
    Ok((tarball(&files, Mode::Data)?, summary))
}

/// The blobs by their path in the layout.
#[derive(Default)]
struct Blobs(BTreeMap<String, Vec<u8>>);

impl Blobs {
    fn add(&mut self, media_type: MediaType, content: Vec<u8>) -> Assembled<Descriptor> {
        let descriptor = DescriptorBuilder::default()
            .media_type(media_type)
            .digest(Sha256Digest::from_str(&sha256(&content))?)
            .size(content.len() as u64)
            .build()?;
        self.0.insert(blob_path(&descriptor), content);
        Ok(descriptor)
    }
}

fn blob_path(descriptor: &Descriptor) -> String {
    format!("blobs/sha256/{}", descriptor.digest().digest())
}

fn sha256(content: &[u8]) -> String {
    Sha256::digest(content)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// JSON whose keys are in order, whatever order maps had: digests are over these bytes.
fn canonical(value: Value) -> Assembled<Vec<u8>> {
    fn sorted(value: Value) -> Value {
        match value {
            Value::Object(map) => {
                let fields: BTreeMap<String, Value> =
                    map.into_iter().map(|(key, value)| (key, sorted(value))).collect();
                fields.into_iter().collect()
            }
            Value::Array(items) => items.into_iter().map(sorted).collect(),
            other => other,
        }
    }
    Ok(serde_json::to_vec(&sorted(value))?)
}

fn compress(content: &[u8]) -> io::Result<Vec<u8>> {
    // No name and no time in the header, so that the same content is the same file.
    let mut encoder = GzBuilder::new().mtime(0).write(Vec::new(), Compression::best());
    encoder.write_all(content)?;
    encoder.finish()
}

/// What the files of a tarball are.
#[derive(Clone, Copy)]
enum Mode {
    Program,
    Data,
}

/// A tarball of these files and their folders: in order, of root, at the beginning of time.
fn tarball(files: &BTreeMap<String, Vec<u8>>, mode: Mode) -> io::Result<Vec<u8>> {
    let mut builder = Builder::new(Vec::new());
    let header = |kind: EntryType, mode: u32, size: usize| {
        let mut header = Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(size as u64);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header
    };
    let mut folders: Vec<&str> = Vec::new();
    for (path, content) in files {
        for (end, _) in path.match_indices('/') {
            let folder = &path[..=end];
            if !folders.contains(&folder) {
                folders.push(folder);
                builder.append_data(&mut header(EntryType::Directory, 0o755, 0), folder, io::empty())?;
            }
        }
        let bits = match mode {
            Mode::Program => 0o755,
            Mode::Data => 0o644,
        };
        let mut header = header(EntryType::Regular, bits, content.len());
        builder.append_data(&mut header, path, content.as_slice())?;
    }
    builder.into_inner()
}
