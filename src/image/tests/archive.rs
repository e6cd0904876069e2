//! The archive read back: every digest and size is what the tables of contents say.

use flate2::read::GzDecoder;
use meshproof_image::{Architecture, Image, ImageError, ImageSummary, Program};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::{
    collections::BTreeMap,
    io::Read,
    path::{Path, PathBuf},
};

const REFERENCE: &str = "meshproof.dev/agent:test";

/// The smallest static program that the crate accepts, with something to compress.
fn program(folder: &Path) -> PathBuf {
    program_for(folder, "agent", ARM64)
}

/// ELF's numbers of machines.
const AMD64: u8 = 62;
const ARM64: u8 = 183;

fn program_for(folder: &Path, name: &str, machine: u8) -> PathBuf {
    let mut file = b"\x7fELF\x02\x01\x01".to_vec();
    file.resize(64, 0);
    file[16] = 2;
    file[18] = machine;
    file.extend(b"code ".repeat(1000));
    let path = folder.join(name);
    std::fs::write(&path, file).expect("writes");
    path
}

fn write(binary: &Path, output: &Path, reference: &str) -> Result<ImageSummary, ImageError> {
    let image = Image::build(Program::Agent, &[binary.to_owned()], reference)?;
    image.write(output)?;
    Ok(image.summary())
}

fn read_tar(bytes: &[u8]) -> BTreeMap<String, (tar::Header, Vec<u8>)> {
    let mut archive = tar::Archive::new(bytes);
    let entries = archive.entries().expect("a tar");
    entries
        .map(|entry| {
            let mut entry = entry.expect("an entry");
            let mut content = Vec::new();
            entry.read_to_end(&mut content).expect("content");
            let path = entry.path().expect("a path").to_string_lossy().into_owned();
            (path, (entry.header().clone(), content))
        })
        .collect()
}

fn digest(content: &[u8]) -> String {
    let hex: String = Sha256::digest(content)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("sha256:{hex}")
}

#[test]
fn both_tables_of_contents_lead_to_the_same_intact_blobs() {
    let folder = tempfile::tempdir().expect("a folder");
    let agent = program(folder.path());
    let output = folder.path().join("probe.tar");
    let summary = write(&agent, &output, REFERENCE).expect("writes");
    let files = read_tar(&std::fs::read(&output).expect("reads"));
    let json = |path: &str| -> Value { serde_json::from_slice(&files[path].1).expect(path) };
    let blob = |descriptor: &Value| -> &[u8] {
        let digest_text = descriptor["digest"].as_str().expect("a digest");
        let content = &files[&format!("blobs/{}", digest_text.replace(':', "/"))].1;
        assert_eq!(digest(content), digest_text);
        assert_eq!(Some(content.len() as u64), descriptor["size"].as_u64());
        content
    };

    assert_eq!(json("oci-layout")["imageLayoutVersion"], "1.0.0");
    let index = json("index.json");
    let entry = &index["manifests"][0];
    assert_eq!(entry["annotations"]["io.containerd.image.name"], REFERENCE);
    assert_eq!(entry["annotations"]["org.opencontainers.image.ref.name"], "test");
    assert_eq!(
        (&entry["platform"]["os"], &entry["platform"]["architecture"]),
        (&"linux".into(), &"arm64".into())
    );
    assert_eq!(entry["digest"], summary.digest.as_str());

    let manifest: Value = serde_json::from_slice(blob(entry)).expect("a manifest");
    let config: Value = serde_json::from_slice(blob(&manifest["config"])).expect("a configuration");
    assert_eq!(config["config"]["User"], "65532:65532");
    assert_eq!(config["config"]["Entrypoint"], serde_json::json!(["/meshproof-agent"]));
    assert_eq!(config["architecture"], "arm64");
    for labels in [&config["config"]["Labels"], &manifest["annotations"]] {
        assert_eq!(labels["org.opencontainers.image.title"], "meshproof-agent");
        assert_eq!(labels["org.opencontainers.image.version"], env!("CARGO_PKG_VERSION"));
        assert_eq!(labels["org.opencontainers.image.licenses"], "Apache-2.0");
    }
    assert_eq!(manifest["layers"].as_array().map(Vec::len), Some(1));

    let compressed = blob(&manifest["layers"][0]);
    assert_eq!(compressed.len() as u64, summary.compressed_size);
    let mut layer = Vec::new();
    GzDecoder::new(compressed).read_to_end(&mut layer).expect("gzip");
    assert_eq!(config["rootfs"]["diff_ids"][0], digest(&layer).as_str());
    let inside = read_tar(&layer);
    assert_eq!(
        inside.keys().collect::<Vec<_>>(),
        ["meshproof-agent"],
        "one file and no shell"
    );
    let (header, content) = &inside["meshproof-agent"];
    assert_eq!(header.mode().expect("a mode"), 0o755);
    assert_eq!(content, &std::fs::read(&agent).expect("reads"));

    let docker = json("manifest.json");
    assert_eq!(docker[0]["RepoTags"], serde_json::json!([REFERENCE]));
    let path = |descriptor: &Value| {
        format!(
            "blobs/{}",
            descriptor["digest"].as_str().expect("a digest").replace(':', "/")
        )
    };
    assert_eq!(docker[0]["Config"], path(&manifest["config"]).as_str());
    assert_eq!(docker[0]["Layers"], serde_json::json!([path(&manifest["layers"][0])]));
    for (path, (header, _)) in &files {
        assert_eq!(header.mtime().expect("a time"), 0, "{path}");
    }
}

#[test]
fn the_same_agent_is_the_same_archive() {
    let folder = tempfile::tempdir().expect("a folder");
    let agent = program(folder.path());
    let archives: Vec<Vec<u8>> = (0..3)
        .map(|n| {
            let output = folder.path().join(format!("{n}.tar"));
            write(&agent, &output, REFERENCE).expect("writes");
            std::fs::read(&output).expect("reads")
        })
        .collect();
    assert!(archives.iter().all(|archive| *archive == archives[0]));
}

#[test]
fn the_tests_own_dynamic_program_is_refused_and_nothing_is_written() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = folder.path().join("probe.tar");
    let own = std::env::current_exe().expect("a path");
    match write(&own, &output, REFERENCE) {
        Err(error) => assert!(error.to_string().contains("crt-static"), "{error}"),
        // Only where the tests themselves are built statically.
        Ok(_) => return,
    }
    assert!(!output.exists());
}

#[test]
fn what_is_wrong_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let agent = program(folder.path());
    let error = write(Path::new("/nowhere/agent"), Path::new("x"), REFERENCE).expect_err("fails");
    assert!(error.to_string().contains("/nowhere/agent"), "{error}");
    let error = write(&agent, Path::new("/nowhere/x.tar"), REFERENCE).expect_err("fails");
    assert!(error.to_string().contains("/nowhere/x.tar"), "{error}");
    let error = write(&agent, Path::new("x"), "Not A Name").expect_err("fails");
    assert!(error.to_string().contains("HOST/NAME:TAG"), "{error}");
}

#[test]
fn two_architectures_are_one_index_of_two_images() {
    let folder = tempfile::tempdir().expect("a folder");
    let binaries = [
        program_for(folder.path(), "x86", AMD64),
        program_for(folder.path(), "arm", ARM64),
    ];
    let output = folder.path().join("probe.tar");
    let image = Image::build(Program::Command, &binaries, REFERENCE).expect("builds");
    image.write(&output).expect("writes");
    assert_eq!(
        image.summary().architectures,
        [Architecture::Amd64, Architecture::Arm64]
    );

    let files = read_tar(&std::fs::read(&output).expect("reads"));
    let blob = |descriptor: &Value| -> Value {
        let named = descriptor["digest"].as_str().expect("a digest");
        let content = &files[&format!("blobs/{}", named.replace(':', "/"))].1;
        assert_eq!(digest(content), named);
        serde_json::from_slice(content).expect("JSON")
    };
    let table: Value = serde_json::from_slice(&files["index.json"].1).expect("JSON");
    let entry = &table["manifests"][0];
    assert_eq!(entry["annotations"]["io.containerd.image.name"], REFERENCE);
    assert_eq!(entry["mediaType"], "application/vnd.oci.image.index.v1+json");
    assert_eq!(entry["digest"], image.summary().digest.as_str());
    let images = blob(entry)["manifests"].clone();
    let mut seen = Vec::new();
    for one in images.as_array().expect("a list") {
        let config = blob(&blob(one)["config"]);
        assert_eq!(config["architecture"], one["platform"]["architecture"]);
        assert_eq!(config["config"]["Entrypoint"], serde_json::json!(["/meshproof"]));
        seen.push(config["architecture"].clone());
    }
    assert_eq!(seen, ["amd64", "arm64"]);
    // `manifest.json` can name one image only.
    assert!(!files.contains_key("manifest.json"));
}

#[test]
fn two_binaries_of_one_architecture_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let binaries = [
        program_for(folder.path(), "one", AMD64),
        program_for(folder.path(), "two", AMD64),
    ];
    let error = Image::build(Program::Agent, &binaries, REFERENCE)
        .err()
        .expect("refused");
    assert!(error.to_string().contains("both for amd64"), "{error}");
}
