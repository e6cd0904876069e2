//! The image's content: a layer, a configuration and a manifest for each architecture, and the tables of contents of an
//! archive.

use crate::{Architecture, ImageReference, Program};
use flate2::{Compression, GzBuilder};
use oci_spec::image::{
    ANNOTATION_DESCRIPTION, ANNOTATION_LICENSES, ANNOTATION_REF_NAME, ANNOTATION_TITLE, ANNOTATION_VERSION,
    ConfigBuilder, Descriptor, DescriptorBuilder, ImageConfigurationBuilder, ImageIndexBuilder, ImageManifestBuilder,
    MediaType, Os, PlatformBuilder, RootFsBuilder, Sha256Digest,
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
/// Where containerd looks for the whole name of an image.
const CONTAINERD_NAME: &str = "io.containerd.image.name";

type Assembled<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// The blobs of an image, with what a registry or an archive must say of them.
pub(crate) struct Contents {
    blobs: Blobs,
    /// The manifest of each architecture, with its platform.
    manifests: Vec<Descriptor>,
    /// What a tag names: the only manifest, or the index of several.
    pub(crate) root: Descriptor,
    /// For `manifest.json`: configuration and layer of the only architecture.
    only: Option<(Descriptor, Descriptor)>,
    /// Bytes of all compressed layers.
    pub(crate) compressed_size: u64,
}

/// The content of an image in which this program runs, from a binary for each architecture.
pub(crate) fn assemble(program: Program, binaries: &[(Architecture, Vec<u8>)]) -> Assembled<Contents> {
    let mut blobs = Blobs::default();
    let (mut manifests, mut parts, mut compressed_size) = (Vec::new(), Vec::new(), 0);
    for (architecture, binary) in binaries {
        let (manifest, configuration, layer) = blobs.add_image(program, *architecture, binary)?;
        compressed_size += layer.size();
        manifests.push(manifest);
        parts.push((configuration, layer));
    }
    let root = match &manifests[..] {
        [only] => only.clone(),
        several => {
            let index = ImageIndexBuilder::default()
                .schema_version(2u32)
                .media_type(MediaType::ImageIndex)
                .manifests(several.to_vec())
                .annotations(labels(program))
                .build()?;
            blobs.add(MediaType::ImageIndex, canonical(serde_json::to_value(index)?)?)?
        }
    };
    Ok(Contents {
        blobs,
        manifests,
        root,
        only: if parts.len() == 1 { parts.pop() } else { None },
        compressed_size,
    })
}

impl Contents {
    /// The archive, which names the image so.
    pub(crate) fn archive(&self, reference: &ImageReference) -> Assembled<Vec<u8>> {
        let mut root = self.root.clone();
        root.set_annotations(Some(HashMap::from([
            (CONTAINERD_NAME.to_owned(), reference.canonical()),
            (ANNOTATION_REF_NAME.to_owned(), reference.tag().to_owned()),
        ])));
        let index = ImageIndexBuilder::default()
            .schema_version(2u32)
            .media_type(MediaType::ImageIndex)
            .manifests(vec![root])
            .build()?;
        let mut files = self.blobs.0.clone();
        files.insert("oci-layout".to_owned(), br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec());
        files.insert("index.json".to_owned(), canonical(serde_json::to_value(index)?)?);
        // It cannot tell architectures apart, so an image of several does without.
        if let Some((configuration, layer)) = &self.only {
            let docker = json!([{
                "Config": blob_path(configuration),
                "RepoTags": [reference.canonical()],
                "Layers": [blob_path(layer)],
            }]);
            files.insert("manifest.json".to_owned(), canonical(docker)?);
        }
        Ok(tarball(&files, Mode::Data)?)
    }

    /// What is pushed, in an order in which nothing names what is not there yet: layers and configurations, then the
    /// manifest of each architecture, then what the tag names (the index, if there is one).
    #[cfg(feature = "push")]
    pub(crate) fn parts(&self) -> Parts<'_> {
        let manifests: Vec<_> = self.manifests.iter().chain([&self.root]).collect();
        let is_manifest = |path: &str| manifests.iter().any(|manifest| blob_path(manifest) == path);
        let blobs = self.blobs.0.iter().filter(|(path, _)| !is_manifest(path));
        let named = |path: &str| path.trim_start_matches("blobs/").replacen('/', ":", 1);
        Parts {
            blobs: blobs.map(|(path, content)| (named(path), content.as_slice())).collect(),
            manifests: self.manifests.iter().map(|manifest| self.part(manifest)).collect(),
            root: self.part(&self.root),
        }
    }

    #[cfg(feature = "push")]
    fn part<'a>(&'a self, descriptor: &Descriptor) -> Manifest<'a> {
        Manifest {
            digest: descriptor.digest().to_string(),
            media_type: descriptor.media_type().to_string(),
            content: self
                .blobs
                .0
                .get(&blob_path(descriptor))
                .expect("every descriptor is of a blob"),
        }
    }

    /// Digest of what a tag names, `sha256:…`.
    pub(crate) fn digest(&self) -> String {
        self.root.digest().to_string()
    }
}

/// What is pushed.
#[cfg(feature = "push")]
pub(crate) struct Parts<'a> {
    /// Layers and configurations by digest.
    pub(crate) blobs: Vec<(String, &'a [u8])>,
    /// The manifest of each architecture.
    pub(crate) manifests: Vec<Manifest<'a>>,
    /// What the tag names.
    pub(crate) root: Manifest<'a>,
}

/// A manifest or an index.
#[cfg(feature = "push")]
pub(crate) struct Manifest<'a> {
    pub(crate) digest: String,
    pub(crate) media_type: String,
    pub(crate) content: &'a [u8],
}

/// What tools show of the image; no time and no machine, so that the same binary is the same image.
fn labels(program: Program) -> HashMap<String, String> {
    [
        (ANNOTATION_TITLE, program.name()),
        (ANNOTATION_DESCRIPTION, program.about()),
        (ANNOTATION_VERSION, env!("CARGO_PKG_VERSION")),
        (ANNOTATION_LICENSES, env!("CARGO_PKG_LICENSE")),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into()
}

/// The blobs by their path in the layout.
#[derive(Default)]
struct Blobs(BTreeMap<String, Vec<u8>>);

impl Blobs {
    /// Adds an image of one architecture: its manifest, configuration and layer.
    fn add_image(
        &mut self,
        program: Program,
        architecture: Architecture,
        binary: &[u8],
    ) -> Assembled<(Descriptor, Descriptor, Descriptor)> {
        let files = BTreeMap::from([(program.name().to_owned(), binary.to_vec())]);
        let layer = tarball(&files, Mode::Program)?;
        let root = RootFsBuilder::default()
            .typ("layers")
            .diff_ids(vec![format!("sha256:{}", sha256(&layer))])
            .build()?;
        let run = ConfigBuilder::default()
            .user(USER)
            .entrypoint(vec![format!("/{}", program.name())])
            .working_dir("/")
            .labels(labels(program))
            .build()?;
        let configuration = ImageConfigurationBuilder::default()
            .architecture(architecture)
            .os(Os::Linux)
            .rootfs(root)
            .config(run)
            .build()?;
        let configuration = self.add(MediaType::ImageConfig, canonical(serde_json::to_value(configuration)?)?)?;
        let layer = self.add(MediaType::ImageLayerGzip, compress(&layer)?)?;
        let manifest = ImageManifestBuilder::default()
            .schema_version(2u32)
            .media_type(MediaType::ImageManifest)
            .config(configuration.clone())
            .layers(vec![layer.clone()])
            .annotations(labels(program))
            .build()?;
        let mut manifest = self.add(MediaType::ImageManifest, canonical(serde_json::to_value(manifest)?)?)?;
        manifest.set_platform(Some(
            PlatformBuilder::default()
                .architecture(architecture)
                .os(Os::Linux)
                .build()?,
        ));
        Ok((manifest, configuration, layer))
    }

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
