use proptest::prelude::*;

use super::AddressErrorKind as Kind;
use super::*;

/// As [`Address::parse`], whatever this build can open.
fn parsed(text: &str) -> Result<Management, AddressError> {
    let platform = Platform::ALL
        .into_iter()
        .find(|platform| text.starts_with(&format!("{platform}:")));
    parse::management(platform.expect("a platform's scheme"), text)
}

fn good(text: &str) -> Management {
    parsed(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn kind(text: &str) -> Kind {
    match parsed(text) {
        Err(error) => error.kind(),
        Ok(address) => panic!("{text} is {address}"),
    }
}

#[test]
fn an_address_says_where_and_as_whom() {
    let short = good("vmware://root@esx1");
    assert_eq!(
        (short.host(), short.port(), short.user()),
        ("esx1", 443, "root")
    );
    assert!(short.is_verified());
    assert_eq!((short.authorities(), short.password_file()), (None, None));

    let full =
        good("rhevm://fence%40x@internal@[FD00::1]:8443/?ca=/etc/ca.pem&password_file=/etc/p%26w");
    assert_eq!(
        (full.host(), full.port(), full.user()),
        ("fd00::1", 8443, "fence@x@internal")
    );
    assert_eq!(full.authorities(), Some(Path::new("/etc/ca.pem")));
    assert_eq!(full.password_file(), Some(Path::new("/etc/p&w")));

    let plain = good("hyperv://CORP\\fence@HV1.example./?transport=http");
    assert_eq!(
        (plain.host(), plain.port(), plain.user()),
        ("hv1.example.", 5985, "CORP\\fence")
    );
    assert_eq!(plain.transport(), Transport::Http);
    assert!(!good("vmware://u@h/?verify=no").is_verified());
    assert_eq!(good("rhevm://u@[fe80::1%25eth0]/").host(), "fe80::1%eth0");
}

#[test]
fn what_is_shown_can_be_read_again() {
    for (text, shown) in [
        ("vmware://root@esx1", "vmware://root@esx1/"),
        (
            "hyperv://CORP\\f@h:5986/?verify=no",
            "hyperv://CORP%5Cf@h:5986/?verify=no",
        ),
        (
            "rhevm://a@b@h/?ca=/x&password_file=/p",
            "rhevm://a@b@h/?password_file=/p&ca=/x",
        ),
        (
            "rhevm://u@[fe80::1%25eth0]:1",
            "rhevm://u@[fe80::1%25eth0]:1/",
        ),
    ] {
        let address = good(text);
        assert_eq!(address.to_string(), shown);
        assert_eq!(good(shown), address);
    }
}

#[test]
fn mistakes_have_a_name_and_a_place() {
    for (text, wanted, marked) in [
        ("vmware:h", Kind::Form, "vmware:h"),
        ("vmware://h", Kind::User, "h"),
        ("vmware://@h", Kind::User, ""),
        ("vmware://a%zz@h", Kind::User, "a%zz"),
        ("vmware://a%00@h", Kind::User, "a%00"),
        ("vmware://a%ff@h", Kind::User, "a%ff"),
        ("vmware://u@", Kind::Host, ""),
        ("vmware://u@h!x", Kind::Host, "h!x"),
        ("vmware://u@300.1.1.1", Kind::Host, "300.1.1.1"),
        ("vmware://u@a..b", Kind::Host, "a..b"),
        ("vmware://u@[::1", Kind::Host, "[::1"),
        ("vmware://u@[h]", Kind::Host, "[h]"),
        ("vmware://u@::1", Kind::Host, "::1"),
        ("vmware://u@h:", Kind::Port, "h:"),
        ("vmware://u@h:0", Kind::Port, "h:0"),
        ("vmware://u@h:+1", Kind::Port, "h:+1"),
        ("vmware://u@h:65536", Kind::Port, "h:65536"),
        ("vmware://u@[::1]x", Kind::Port, "[::1]x"),
        ("vmware://u@h/dc1?verify=no", Kind::Path, "/dc1"),
        ("vmware://u@h/#x", Kind::Path, "#x"),
        ("vmware://u@h/?verfiy=no", Kind::Key, "verfiy"),
        ("vmware://u@h/?verify=maybe", Kind::Value, "maybe"),
        ("vmware://u@h/?verify", Kind::Value, ""),
        ("vmware://u@h/?ca=relative", Kind::Value, "relative"),
        ("vmware://u@h/?ca=/x%", Kind::Value, "/x%"),
        ("vmware://u@h/?ca=/x@y", Kind::Value, "@"),
        ("vmware://u@h/?ca=/x&ca=/y", Kind::Contradiction, "ca=/y"),
        (
            "vmware://u@h/?ca=/x&verify=no",
            Kind::Contradiction,
            "u@h/?ca=/x&verify=no",
        ),
        (
            "vmware://u@h/?transport=http&ca=/x",
            Kind::Contradiction,
            "u@h/?transport=http&ca=/x",
        ),
    ] {
        let error = parsed(text).expect_err(text);
        assert_eq!(error.kind(), wanted, "{text}: {error}");
        assert_eq!(&text[error.span()], marked, "{text}: {error}");
        assert!(!error.problem().is_empty() && !error.remedy().is_empty());
    }
}

#[test]
fn slips_get_a_suggestion() {
    for (text, meant) in [
        ("vmware://u@h/?pasword_file=/p", "`password_file`"),
        ("vmware://u@h/?transprot=http", "`transport`"),
        ("vmware://u@h/?transport=htps", "`https`"),
    ] {
        let error = parsed(text).expect_err(text);
        assert!(
            error.remedy().contains(&format!("did you mean {meant}?")),
            "{error}"
        );
    }
    for (text, meant) in [
        ("vmwrae://u@h", "vmware://"),
        ("ovirt://u@h", "rhevm://"),
        ("vcenter://u@h", "vmware://"),
        ("hyper-v://u@h", "hyperv://"),
    ] {
        let error = Address::parse(text).expect_err(text);
        assert_eq!(error.kind(), Kind::Scheme);
        assert!(
            error.remedy().contains(&format!("did you mean {meant}?")),
            "{error}"
        );
    }
    assert_eq!(
        Address::parse("https://u@h").unwrap_err().kind(),
        Kind::Scheme
    );
    for text in ["", "qemu", "/system", "1x://h", "ü://h"] {
        assert_eq!(
            Address::parse(text).unwrap_err().kind(),
            Kind::Form,
            "{text}"
        );
    }
}

#[test]
fn every_platform_is_opened_or_said_to_be_missing() {
    for platform in Platform::ALL {
        match Address::parse(&format!("{platform}://u@h/")) {
            Ok(address) => {
                assert!(platform.is_in_this_build());
                assert_eq!(
                    address.management().map(Management::platform),
                    Some(platform)
                );
            }
            Err(error) => {
                assert!(!platform.is_in_this_build());
                assert_eq!(error.kind(), Kind::NotInThisBuild);
                assert!(error.to_string().contains("not in this build"), "{error}");
            }
        }
    }
}

#[cfg(feature = "libvirt")]
#[test]
fn other_schemes_are_libvirts() {
    for uri in [
        "qemu:///system",
        "qemu+ssh://root@h/system",
        "xen:///",
        "esx://h/",
        "vpx://h/dc",
        "test:///default",
    ] {
        let address = Address::parse(uri).unwrap();
        assert_eq!(address.to_string(), uri);
        assert_eq!(address.management(), None);
    }
    let secret = Address::parse("esx://root:hunter2@h/").unwrap();
    assert_eq!(secret.to_string(), "esx://root:*******@h/");
    assert!(!format!("{secret:?}").contains("hunter2"));
}

#[test]
fn passwords_are_refused_and_blotted_out() {
    for text in [
        "vmware://root:hunter2@h/",
        "vmware://root:hun ter2@h/",
        "vmware://root:hunter2/x@h/",
        "vmware://root:hunter2?x@h/",
        "vmware://root:hunter2#@h/?ca=/x",
        "vmware://root:hunter2@@h",
        "vmware://a@b:hunter2@h",
        "vmware://root:@h",
        "vmware://root%3Ahunter2@h",
        "vmware://root@h/?password=hunter2",
        "vmware://root@h/?ca=/x&PassWD=hunter2",
        "vmware://root@h/?pw=",
    ] {
        assert_eq!(kind(text), Kind::Password, "{text}");
        let error = parsed(text).unwrap_err();
        assert!(
            !format!("{error} {error:?}").contains("hunter"),
            "{error:?}"
        );
        if !text.contains("%3A") {
            let shown = redact(&format!("\turi = \"{text}\";\n# mail admin@example"));
            assert!(!shown.contains("hun") && !shown.contains("ter2"), "{shown}");
            assert!(shown.ends_with("\";\n# mail admin@example"), "{shown}");
        }
    }
    // Not a password for certain; not shown all the same.
    for text in [
        "vmware://root:hunter2",
        "vmware://u@h:hunter2/",
        "vmware://h:hunter2?ca=/x",
    ] {
        assert_eq!(kind(text), Kind::Port);
        assert!(!redact(text).contains("hunter2"), "{}", redact(text));
        assert!(!parsed(text).unwrap_err().to_string().contains("hunter2"));
    }
}

#[test]
fn what_holds_no_secret_is_left_alone() {
    for text in [
        "qemu:///system",
        "qemu+tcp://h:16509/system",
        "vmware://u@[fe80::1%25eth0]:443/?ca=/x",
        "tcp://[::1]:1229",
        "see https://example.org/a:b for more, or mail x@y",
        "",
        "://",
        "a :// b",
    ] {
        assert_eq!(redact(text), text);
    }
}

#[test]
fn the_table_is_sound() {
    for (number, key) in KEYS.iter().enumerate() {
        assert!(
            KEYS[..number].iter().all(|other| other.name != key.name),
            "{} is there twice",
            key.name
        );
        assert!(
            key.name
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte == b'_'),
            "{}",
            key.name
        );
        assert!(!key.platforms.is_empty() && !key.about.is_empty());
        if let Form::Choice(words) = key.form {
            assert!(
                words.len() > 1 && words.iter().all(|word| key.form.takes(word)),
                "{}",
                key.name
            );
        }
    }
}

/// Values that a key takes.
fn value(form: Form) -> BoxedStrategy<String> {
    match form {
        Form::Choice(words) => proptest::sample::select(words)
            .prop_map(str::to_owned)
            .boxed(),
        Form::File => "/[^\\p{C}/]{1,12}".boxed(),
        Form::UrlPath => "/[a-z/@&%-]{0,12}".boxed(),
        Form::Text => "[^\\p{C}]{1,12}".boxed(),
    }
}

fn host() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z]([a-z0-9-]{0,8}[a-z0-9])?(\\.[a-z0-9]{1,5}){0,3}",
        any::<std::net::Ipv4Addr>().prop_map(|ip| ip.to_string()),
        any::<std::net::Ipv6Addr>().prop_map(|ip| ip.to_string()),
    ]
}

fn management() -> impl Strategy<Value = Management> {
    let platform = proptest::sample::select(&Platform::ALL[..]);
    platform.prop_flat_map(|platform| {
        let keys: Vec<&'static Key> = keys::of(platform).collect();
        let count = keys.len();
        let settings = proptest::sample::subsequence(keys, 0..=count).prop_flat_map(|keys| {
            let pairs: Vec<_> = keys
                .into_iter()
                .map(|key| value(key.form).prop_map(move |value| (key.name, value)))
                .collect();
            pairs.prop_map(|pairs| pairs.into_iter().collect::<BTreeMap<_, _>>())
        });
        (
            "[^\\p{C}:]{1,12}",
            host(),
            proptest::option::of(1..=u16::MAX),
            settings,
        )
            .prop_map(move |(user, host, port, mut settings)| {
                // What contradicts itself cannot be made by reading.
                if settings
                    .get("transport")
                    .is_some_and(|transport| transport == "http")
                {
                    settings.remove("ca");
                    settings.remove("verify");
                }
                if settings.get("verify").is_some_and(|verify| verify == "no") {
                    settings.remove("ca");
                }
                Management {
                    platform,
                    user,
                    host,
                    port,
                    settings,
                }
            })
    })
}

proptest! {
    /// Whatever is shown reads as the same again, and is not taken for something with a secret in it.
    #[test]
    fn addresses_survive_being_written(address in management()) {
        let shown = address.to_string();
        prop_assert_eq!(&redact(&shown), &shown);
        prop_assert!(!shown.contains(['"', '\\', ' ', '\n']));
        match parse::management(address.platform, &shown) {
            Ok(read) => prop_assert_eq!(read, address),
            Err(error) => prop_assert!(false, "{}: {}", shown, error),
        }
    }

    #[test]
    fn nothing_panics_and_places_are_in_the_text(text in "(vmware|rhevm|hyperv|qemu|x)?(:|://)?(u@)?(h|\\[::1\\])?(:1)?/?(\\?(ca=/x|verify=no|&|x){0,3})?\\PC{0,20}", more in any::<String>()) {
        for text in [text, more] {
            if let Err(error) = Address::parse(&text) {
                prop_assert!(text.get(error.span()).is_some(), "{:?}", error);
            }
            if let Some(platform) = Platform::ALL.into_iter().find(|one| text.starts_with(&format!("{one}:"))) {
                match parse::management(platform, &text) {
                    Ok(address) => prop_assert_eq!(good(&address.to_string()), address),
                    Err(error) => prop_assert!(text.get(error.span()).is_some(), "{:?}", error),
                }
            }
            let shown = redact(&text);
            prop_assert_eq!(shown.len(), text.len());
            prop_assert!(shown.is_char_boundary(shown.len() / 2) || !text.is_char_boundary(text.len() / 2));
        }
    }

    /// However odd a password is, it is refused, not repeated, and blotted out of the file around it.
    #[test]
    fn no_password_survives(user in "[a-z@.]{1,8}", secret in "[^\\p{C}\"`*]{0,8}[A-Z][^\\p{C}\"`*]{0,8}", host in host()) {
        let text = format!("vmware://{user}:{secret}@{host}/");
        let error = parsed(&text).expect_err("a password");
        prop_assert_eq!(error.kind(), Kind::Password);
        let file = redact(&format!("hypervisor = \"{text}\";"));
        for said in [error.to_string(), format!("{error:?}"), file] {
            prop_assert!(secret.len() < 4 || !said.contains(&secret), "{}", said);
        }
    }

    #[test]
    fn one_slip_in_a_key_is_recognised(key in proptest::sample::select(KEYS), at: proptest::sample::Index, letter in "[a-z]") {
        let mut written = key.name.to_owned();
        let at = at.index(written.len());
        written.replace_range(at..=at, &letter);
        let platform = key.platforms[0];
        if !KEYS.iter().any(|known| known.name == written) {
            let error = parse::management(platform, &format!("{platform}://u@h/?{written}=x")).unwrap_err();
            prop_assert_eq!(error.kind(), Kind::Key);
            prop_assert!(error.remedy().contains("did you mean") , "{}", error);
        }
    }
}
