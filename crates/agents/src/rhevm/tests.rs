use fence_agent::metadata;

use super::*;

#[test]
fn the_tables_are_sound() {
    for agent in [&FENCE_RHEVM, &FENCE_RHEV] {
        assert_eq!(agent.self_check(), Vec::<String>::new(), "{}", agent.name);
    }
}

/// Names in the order of the packaged agent's metadata; `ssl_ca` is ours.
#[test]
fn parameters_in_the_order_of_the_packaged_agent() {
    let xml = metadata::render(&FENCE_RHEVM, "fence_rhevm");
    let names: Vec<&str> = xml
        .lines()
        .filter_map(|line| line.trim().strip_prefix("<parameter name=\""))
        .filter_map(|rest| rest.split('"').next())
        .filter(|name| *name != "ssl_ca")
        .collect();
    let mut wanted: Vec<&str> = "action ip ipaddr ipport login notls passwd passwd_script password password_script plug port ssl \
        ssl_insecure ssl_secure use_cookies username api_version cookie_file api_path disable_http_filter quiet verbose \
        verbose_level debug debug_file version help plug_separator separator delay disable_timeout login_timeout \
        power_timeout power_wait shell_timeout stonith_status_sleep retry_on gnutlscli_path"
        .split_whitespace()
        .collect();
    let mut sorted = names.clone();
    sorted.sort_unstable();
    wanted.sort_unstable();
    assert_eq!(sorted, wanted);
    assert!(xml.contains("<symlink name=\"fence_rhev\""));
}

#[test]
fn versions() {
    for (text, wanted) in [
        ("auto", Version::Auto),
        ("3", Version::V3),
        ("3.6", Version::V3),
        ("4.5.1", Version::V4),
        ("2.2", Version::V3),
    ] {
        assert_eq!(version(text), Ok(wanted), "{text}");
    }
    for text in ["5", "v4", "-1"] {
        assert!(version(text).is_err(), "{text}");
    }
}
