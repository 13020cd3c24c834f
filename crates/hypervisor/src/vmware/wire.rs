//! What both interfaces say when the answer is somebody else's.

use https::Response;

use super::states::plain;

/// Of a login that was refused: what may be wrong.
pub(super) const WRONG_LOGIN: &str = "user name or password is wrong; vCenter wants the domain with the name, e.g. user@vsphere.local";

/// What an answer that is not the interface's own says about who answered.
pub(super) fn foreign(response: &Response, path: &str) -> String {
    let status = response.status;
    let hint = match status {
        301 | 302 | 303 | 307 | 308 => {
            let to = response.header("location").map(plain).unwrap_or_default();
            return format!(
                "it answers with a redirection (HTTP {status}) to `{to}`: use the address, port and encryption it names \
                 (ssl for https)"
            );
        }
        401 | 403 => "whoever answers wants another login: is a proxy in the way?",
        404 | 405 => {
            "nobody there serves vSphere's interface: is the address that of vCenter or an ESX host?"
        }
        407 => "a proxy in the way wants a login",
        400 => "it does not take the request: is the port one for encrypted connections (ssl)?",
        502 | 504 => "a proxy in the way does not reach the server",
        503 => "its services are not running, not yet up, or have too many sessions",
        _ => "it is not an answer of vSphere: is the address right, or a proxy in the way?",
    };
    let title = title(&response.body)
        .map(|title| format!(" (page `{title}`)"))
        .unwrap_or_default();
    format!("{path} answers with HTTP {status}{title}: {hint}")
}

/// The title of a web page, if it is one.
fn title(body: &[u8]) -> Option<String> {
    let head = String::from_utf8_lossy(body.get(..body.len().min(8192))?).into_owned();
    // Same length, so that places in one are places in the other.
    let lower = head.to_ascii_lowercase();
    let from = lower.find("<title>")? + "<title>".len();
    let to = from + lower.get(from..)?.find('<')?;
    Some(plain(head.get(from..to)?)).filter(|title| !title.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_called_by_their_title() {
        assert_eq!(
            title(b"<HTML><head><TITLE>Squid\n error</Title>"),
            Some("Squid error".to_owned())
        );
        for none in [&b""[..], b"<title>", b"<title></title>", b"{}"] {
            assert_eq!(title(none), None);
        }
    }
}
