//! From text to an address.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::Range;

use super::error::{AddressError, AddressErrorKind as Kind};
use super::keys::{self, Key};
use super::redact::{PASSWORD_KEYS, secrets};
use super::{Address, KEYS, LibvirtUri, Management, Platform};

/// Longest host name (RFC 1035, 2.3.4).
const LONGEST_HOST: usize = 253;

/// What people may write instead of a platform's scheme. Schemes of libvirt (`esx`, `vpx`) are not among them.
const OTHER_NAMES: [(&str, Platform); 10] = [
    ("ovirt", Platform::Rhevm),
    ("rhev", Platform::Rhevm),
    ("rhv", Platform::Rhevm),
    ("engine", Platform::Rhevm),
    ("vcenter", Platform::Vmware),
    ("vsphere", Platform::Vmware),
    ("esxi", Platform::Vmware),
    ("hyper-v", Platform::Hyperv),
    ("winrm", Platform::Hyperv),
    ("wsman", Platform::Hyperv),
];

/// Reads an address.
pub(super) fn address(text: &str) -> Result<Address, AddressError> {
    let Some((scheme, _)) = text.split_once(':').filter(|(scheme, _)| is_scheme(scheme)) else {
        return Err(error(
            Kind::Form,
            0..text.len(),
            "there is no scheme in front",
            form_remedy(),
        ));
    };
    let place = 0..scheme.len();
    let scheme = scheme.to_ascii_lowercase();
    let Some(platform) = Platform::ALL
        .into_iter()
        .find(|platform| platform.scheme() == scheme)
    else {
        return libvirt(text, &scheme, place);
    };
    if !platform.is_in_this_build() {
        return Err(error(
            Kind::NotInThisBuild,
            place,
            format!("{platform}:// is not in this build"),
            format!(
                "available are {}; use a build with the feature `{platform}`",
                available()
            ),
        ));
    }
    management(platform, text).map(Address::Management)
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
}

/// What is not one of ours is libvirt's, unless it is meant to be one of ours.
fn libvirt(text: &str, scheme: &str, place: Range<usize>) -> Result<Address, AddressError> {
    let other = OTHER_NAMES
        .iter()
        .find(|(name, _)| *name == scheme)
        .map(|(_, platform)| platform.scheme());
    let meant = other.or_else(|| {
        nearest(
            scheme,
            Platform::ALL.iter().map(|platform| platform.scheme()),
        )
    });
    if let Some(meant) = meant {
        return Err(error(
            Kind::Scheme,
            place,
            format!("there is no {scheme}://"),
            format!("did you mean {meant}://? Available are {}", available()),
        ));
    }
    if matches!(scheme, "http" | "https") {
        return Err(error(
            Kind::Scheme,
            place,
            format!("{scheme}:// does not say which platform answers there"),
            format!(
                "write one of {} instead, and ?transport=http if it must be",
                available()
            ),
        ));
    }
    if !cfg!(feature = "libvirt") {
        return Err(error(
            Kind::NotInThisBuild,
            place,
            format!("{scheme}:// would be a libvirt URI, and libvirt is not in this build"),
            format!("available are {}", available()),
        ));
    }
    Ok(Address::Libvirt(LibvirtUri(text.to_owned())))
}

fn available() -> String {
    let mut names: Vec<String> = Platform::ALL
        .iter()
        .filter(|platform| platform.is_in_this_build())
        .map(|platform| format!("{platform}://"))
        .collect();
    if cfg!(feature = "libvirt") {
        names.push("libvirt URIs such as qemu:///system".to_owned());
    }
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    }
}

fn form_remedy() -> String {
    "write scheme://user@host/?password_file=FILE, such as vmware://fence@vcenter.example/?password_file=/etc/cluster/vcenter.password, or a libvirt URI such as qemu:///system".to_owned()
}

/// A management address; `text` begins with the platform's scheme and a colon.
pub(super) fn management(platform: Platform, text: &str) -> Result<Management, AddressError> {
    let start = platform.scheme().len() + 3;
    let Some(rest) = text.get(start..).filter(|_| text[..start].ends_with("://")) else {
        return Err(error(
            Kind::Form,
            0..text.len(),
            format!("`{platform}:` is not followed by //"),
            form_remedy(),
        ));
    };
    let parts = Parts {
        platform,
        text,
        start,
    };
    parts.no_password(rest)?;
    let length = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, tail) = rest.split_at(length);
    let Some(at) = authority.rfind('@') else {
        // What is wrong with the server may be a password without its user.
        parts.server(0..length)?;
        return Err(parts.wrong(
            Kind::User,
            &(0..length),
            "there is no user to log in as",
            "write user@host",
        ));
    };
    let user = parts.user(0..at)?;
    let (host, port) = parts.server(at + 1..length)?;
    let settings = parts.query(tail, length)?;
    let address = Management {
        platform,
        user,
        host,
        port,
        settings,
    };
    parts.agree(&address)?;
    Ok(address)
}

/// The text and what is known of it. Places count from `start`, behind the slashes.
struct Parts<'a> {
    platform: Platform,
    text: &'a str,
    start: usize,
}

impl<'a> Parts<'a> {
    fn piece(&self, place: &Range<usize>) -> &'a str {
        &self.text[self.start + place.start..self.start + place.end]
    }

    fn wrong(
        &self,
        kind: Kind,
        place: &Range<usize>,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) -> AddressError {
        error(
            kind,
            self.start + place.start..self.start + place.end,
            problem,
            remedy,
        )
    }

    /// Refuses a password before anything else is said about the address.
    fn no_password(&self, rest: &str) -> Result<(), AddressError> {
        let authority = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let password = secrets(rest, rest.len()).into_iter().find(|secret| {
            // A colon that is no port's, or a value behind a word for it.
            self.piece(secret).is_empty()
                || secret.start > authority
                || rest[secret.start..].contains('@')
        });
        if let Some(place) = password {
            return Err(self.wrong(
                Kind::Password,
                &place,
                "an address must not hold a password: it is read by more people than should know it, in files, logs and process lists",
                "write it into a file that only root can read, name that with ?password_file=FILE, and change the password; an `@` in a value is written %40",
            ));
        }
        if let Some(at) = rest[authority..].find('@') {
            let place = authority + at..authority + at + 1;
            return Err(self.wrong(
                Kind::Value,
                &place,
                "an `@` stands behind the host",
                "in a value it is written %40",
            ));
        }
        Ok(())
    }

    fn user(&self, place: Range<usize>) -> Result<String, AddressError> {
        let user = self.decode(Kind::User, "the user", &place)?;
        if user.is_empty() {
            return Err(self.wrong(
                Kind::User,
                &place,
                "there is no user in front of the `@`",
                "write user@host",
            ));
        }
        if user.contains(':') {
            return Err(self.wrong(
                Kind::Password,
                &place,
                "an address must not hold a password, and no user's name holds a colon",
                "name a file with ?password_file=FILE",
            ));
        }
        Ok(user)
    }

    fn server(&self, place: Range<usize>) -> Result<(String, Option<u16>), AddressError> {
        let server = self.piece(&place);
        let (host, rest) = match server.strip_prefix('[') {
            Some(bracketed) => {
                let Some((host, rest)) = bracketed.split_once(']') else {
                    return Err(self.wrong(
                        Kind::Host,
                        &place,
                        "the `[` of an IPv6 address is never closed",
                        "write [ADDRESS]",
                    ));
                };
                let Some(host) = ipv6(host) else {
                    return Err(self.wrong(
                        Kind::Host,
                        &place,
                        "what stands in brackets is no IPv6 address",
                        "write it as in [2001:db8::1] or, with an interface, [fe80::1%25eth0]",
                    ));
                };
                (host, rest)
            }
            None => {
                let (host, rest) = server.split_at(server.find(':').unwrap_or(server.len()));
                self.host_name(host, &place)?;
                (host.to_ascii_lowercase(), rest)
            }
        };
        let port = match rest.strip_prefix(':') {
            None if rest.is_empty() => None,
            Some(digits) if !digits.is_empty() => match digits.parse::<u16>() {
                Ok(port) if port > 0 && digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                    Some(port)
                }
                _ => return Err(self.bad_port(&place)),
            },
            _ => return Err(self.bad_port(&place)),
        };
        Ok((host, port))
    }

    /// What stands there is not repeated: it may be a password without its user.
    fn bad_port(&self, place: &Range<usize>) -> AddressError {
        self.wrong(
            Kind::Port,
            place,
            "behind the host stands no port, a number from 1 to 65535",
            "write host:port, or host alone; an IPv6 address stands in brackets, and a password in a file named with ?password_file=FILE",
        )
    }

    fn host_name(&self, host: &str, place: &Range<usize>) -> Result<(), AddressError> {
        if host.is_empty() {
            return Err(self.wrong(Kind::Host, place, "there is no host", form_remedy()));
        }
        let label = |label: &str| {
            !label.is_empty()
                && label.len() <= 63
                && !label.starts_with('-')
                && label
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
        };
        let name = host.strip_suffix('.').unwrap_or(host);
        // Digits and dots alone are meant to be an address.
        let numeric = host
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'.');
        let good = name.len() <= LONGEST_HOST
            && name.split('.').all(label)
            && (!numeric || host.parse::<Ipv4Addr>().is_ok());
        if good {
            return Ok(());
        }
        Err(self.wrong(
            Kind::Host,
            place,
            "this is neither a host name nor an address",
            "write a name of letters, digits, `-` and `.`, an IPv4 address, or an IPv6 address in brackets",
        ))
    }

    /// What follows the authority, which ends at `length`.
    fn query(
        &self,
        tail: &str,
        length: usize,
    ) -> Result<BTreeMap<&'static str, String>, AddressError> {
        let mut settings = BTreeMap::new();
        if let Some(hash) = tail.find('#') {
            let place = length + hash..length + tail.len();
            return Err(self.wrong(
                Kind::Path,
                &place,
                "a `#` has no meaning here",
                "in a value it is written %23",
            ));
        }
        let (path, query) = tail.split_once('?').unwrap_or((tail, ""));
        if !matches!(path, "" | "/") {
            let place = length..length + path.len();
            return Err(self.wrong(
                Kind::Path,
                &place,
                "a path stands behind the host",
                self.path_remedy(),
            ));
        }
        let mut from = length + path.len() + 1;
        for pair in query.split('&') {
            let place = from..from + pair.len();
            from = place.end + 1;
            if pair.is_empty() {
                continue;
            }
            let (key, value) = self.pair(pair, &place)?;
            if settings.insert(key.name, value).is_some() {
                return Err(self.wrong(
                    Kind::Contradiction,
                    &place,
                    format!("`{}` stands there twice", key.name),
                    "remove one of them",
                ));
            }
        }
        Ok(settings)
    }

    fn path_remedy(&self) -> &'static str {
        match self.platform {
            Platform::Rhevm => "if it is where the interface is, write ?api_path=PATH",
            Platform::Vmware => {
                "if it is a datacenter, write ?datacenter=NAME; if it is where the interface is, ?api_path=PATH"
            }
            Platform::Hyperv => "remove it",
        }
    }

    fn pair(
        &self,
        pair: &str,
        place: &Range<usize>,
    ) -> Result<(&'static Key, String), AddressError> {
        let (name, length) = pair
            .split_once('=')
            .map_or((pair, pair.len()), |(name, _)| (name, name.len()));
        let key_place = place.start..place.start + length;
        let key = self.key(name, &key_place)?;
        let value_place = (key_place.end + 1).min(place.end)..place.end;
        let value = self.decode(Kind::Value, key.name, &value_place)?;
        if key.form.takes(&value) {
            return Ok((key, value));
        }
        let remedy = match key.form {
            keys::Form::Choice(words) => nearest(&value, words.iter().copied()).map_or_else(
                || format!("write {}", key.form.describe()),
                |near| format!("did you mean `{near}`? It takes {}", key.form.describe()),
            ),
            _ => format!("write {}", key.form.describe()),
        };
        Err(self.wrong(
            Kind::Value,
            &value_place,
            format!("`{}` does not take this value", key.name),
            remedy,
        ))
    }

    fn key(&self, name: &str, place: &Range<usize>) -> Result<&'static Key, AddressError> {
        if let Some(key) = keys::of(self.platform).find(|key| key.name == name) {
            return Ok(key);
        }
        debug_assert!(
            !PASSWORD_KEYS.contains(&name),
            "passwords are refused before"
        );
        // Only what can be a key is repeated.
        let plausible = (1..=32).contains(&name.len())
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
        let shown = if plausible {
            format!("`{name}`")
        } else {
            "this".to_owned()
        };
        let known = || keys::of(self.platform).map(|key| key.name);
        let remedy = match KEYS.iter().find(|key| key.name == name) {
            Some(key) => format!(
                "it belongs to {}; known here are {}",
                key.platforms
                    .iter()
                    .map(|platform| format!("{platform}://"))
                    .collect::<Vec<_>>()
                    .join(", "),
                known().collect::<Vec<_>>().join(", ")
            ),
            None => nearest(name, known()).map_or_else(
                || format!("known are {}", known().collect::<Vec<_>>().join(", ")),
                |near| format!("did you mean `{near}`?"),
            ),
        };
        Err(self.wrong(
            Kind::Key,
            place,
            format!("{shown} is no key of {} addresses", self.platform),
            remedy,
        ))
    }

    /// The text of a piece with its percent signs resolved.
    fn decode(&self, kind: Kind, what: &str, place: &Range<usize>) -> Result<String, AddressError> {
        let piece = self.piece(place);
        let remedy = "write %XX for the byte XX: %25 for a percent sign";
        let mut bytes = Vec::with_capacity(piece.len());
        let mut rest = piece.as_bytes();
        while let [first, tail @ ..] = rest {
            rest = tail;
            if *first != b'%' {
                bytes.push(*first);
                continue;
            }
            let digit = |at: usize| {
                rest.get(at)
                    .and_then(|byte| char::from(*byte).to_digit(16))
                    .and_then(|digit| u8::try_from(digit).ok())
            };
            let (Some(high), Some(low)) = (digit(0), digit(1)) else {
                return Err(self.wrong(
                    kind,
                    place,
                    format!("a percent sign in {what} is not followed by two hexadecimal digits"),
                    remedy,
                ));
            };
            bytes.push(high << 4 | low);
            rest = &rest[2..];
        }
        match String::from_utf8(bytes) {
            Ok(text) if text.chars().any(char::is_control) => Err(self.wrong(
                kind,
                place,
                format!("{what} holds a control character"),
                "remove it",
            )),
            Ok(text) => Ok(text),
            Err(_) => Err(self.wrong(
                kind,
                place,
                format!("{what} is not UTF-8 once its percent signs are resolved"),
                remedy,
            )),
        }
    }

    /// Parts that are good each and do not go together.
    fn agree(&self, address: &Management) -> Result<(), AddressError> {
        let whole = 0..self.text.len() - self.start;
        let plain = address.setting("transport") == Some("http");
        let has = |key| address.setting(key).is_some();
        if plain && (has("ca") || has("verify")) {
            return Err(self.wrong(
                Kind::Contradiction,
                &whole,
                "over http there is no certificate to verify",
                "remove transport=http, or ca and verify",
            ));
        }
        if has("ca") && !address.is_verified() {
            return Err(self.wrong(
                Kind::Contradiction,
                &whole,
                "with verify=no nobody looks at ca",
                "remove verify=no",
            ));
        }
        Ok(())
    }
}

/// An IPv6 address as it stands in brackets, with the interface of a link-local one behind `%25` (RFC 6874, 2), as it is dialled.
fn ipv6(text: &str) -> Option<String> {
    let (address, zone) = match text.split_once("%25") {
        Some((address, zone)) => (address, Some(zone)),
        None => (text, None),
    };
    let address: Ipv6Addr = address.parse().ok()?;
    match zone {
        None => Some(address.to_string()),
        Some(zone) => {
            let good = (1..16).contains(&zone.len())
                && zone
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
            good.then(|| format!("{address}%{zone}"))
        }
    }
}

fn error(
    kind: Kind,
    span: Range<usize>,
    problem: impl Into<String>,
    remedy: impl Into<String>,
) -> AddressError {
    AddressError {
        kind,
        span,
        problem: problem.into(),
        remedy: remedy.into(),
    }
}

/// The known word nearest to `written`, if it is near enough to be a slip of the fingers.
fn nearest<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if written.len() > 64 {
        return None;
    }
    let written = written.to_ascii_lowercase();
    known
        .into_iter()
        .map(|name| (strsim::osa_distance(&written, name), name))
        .filter(|(distance, name)| *distance <= 1 + name.len() / 4)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}
