//! Paths.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{Invalid, text_type};

/// An absolute path of plain characters, so that it needs no quoting in any file it is written to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct PlainPath(PathBuf);

impl PlainPath {
    /// Where `fence_virtd` and its clients look for their key by default.
    pub(crate) fn default_key_file() -> Self {
        Self(PathBuf::from("/etc/cluster/fence_xvm.key"))
    }

    /// The path.
    #[must_use]
    pub fn as_path(&self) -> &Path {
        &self.0
    }

    /// The path as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // Made from a `String`, so the empty case cannot arise.
        self.0.to_str().unwrap_or_default()
    }
}

impl TryFrom<String> for PlainPath {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"/._-+@".contains(&b);
        let climbs = text.split('/').any(|part| part == "..");
        if !text.starts_with('/') || text.ends_with('/') || climbs || !text.bytes().all(plain) {
            return Err(Invalid::new(format!(
                "`{text}` is not an absolute path of letters, digits and `/ . _ - + @`"
            )));
        }
        Ok(Self(PathBuf::from(text)))
    }
}

super::schema!(PlainPath, "PlainPath", {
    "type": "string",
    "pattern": "^/[A-Za-z0-9/._+@-]*[A-Za-z0-9._+@-]$"
});

text_type!(
    /// The absolute path of a device; colons and `=` occur in the names that udev makes.
    DevicePath,
    schema: { "pattern": "^/[A-Za-z0-9/._+@:=-]*[A-Za-z0-9._+@:=-]$", "maxLength": 255 },
    |text| {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"/._-+@:=".contains(&b);
        let climbs = text.split('/').any(|part| part == "..");
        if !text.starts_with('/')
            || text.ends_with('/')
            || climbs
            || text.len() > 255
            || !text.bytes().all(plain)
        {
            return Err(format!(
                "`{text}` is not an absolute path of letters, digits and `/ . _ - + @ : =`"
            ));
        }
        Ok(())
    }
);

text_type!(
    /// What stands behind a virtual disk, as its platform writes it: `/dev/mapper/shared`,
    /// `[datastore1] shared/shared.vmdk`, `C:\ClusterStorage\Volume1\shared.vhds`.
    Backing,
    schema: { "pattern": "^[^\\s\"'\\x00-\\x1f]([^\"'\\x00-\\x1f]*[^\\s\"'\\x00-\\x1f])?$", "maxLength": 255 },
    |text| {
        let plain = |c: char| !c.is_control() && !matches!(c, '"' | '\'');
        if text.is_empty() || text.len() > 255 || text.trim() != text || !text.chars().all(plain) {
            return Err(format!(
                "`{text}` is not the path of a disk: use 1 to 255 bytes on one line, without quotation marks and outer blanks"
            ));
        }
        Ok(())
    }
);

text_type!(
    /// A file beside the definition: an absolute path, or one that is relative to the definition's folder.
    NearbyFile,
    schema: { "pattern": "^[A-Za-z0-9/._+@:=-]*[A-Za-z0-9_+@:=-]$", "maxLength": 255 },
    |text| {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"/._-+@:=".contains(&b);
        if text.is_empty() || text.ends_with(['/', '.']) || text.len() > 255 || !text.bytes().all(plain) {
            return Err(format!(
                "`{text}` is not the path of a file, of letters, digits and `/ . _ - + @ : =`"
            ));
        }
        Ok(())
    }
);
