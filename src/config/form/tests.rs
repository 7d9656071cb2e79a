use proptest::prelude::*;

use super::*;

fn help<T: std::fmt::Debug>(result: Result<T, Fault>) -> String {
    result.expect_err("a fault").help.unwrap_or_default()
}

#[test]
fn backends_are_scheme_host_and_port_and_nothing_else() {
    let address = |host: &str, port| BackendAddress { host: host.to_owned(), port };
    assert_eq!(backend("http://127.0.0.1:9001"), Ok(address("127.0.0.1", 9001)));
    assert_eq!(backend("http://Triton.Internal:8000"), Ok(address("triton.internal", 8000)));
    assert_eq!(backend("http://[::1]:80"), Ok(address("::1", 80)));
    assert_eq!(help(backend("127.0.0.1:9001")), "did you mean \"http://127.0.0.1:9001\"?");
    assert_eq!(help(backend("http://a/v2")), "write \"http://a\"; the client's path is passed on");
    assert_eq!(help(backend("http://a")), "the port is missing: write \"http://a:80\"");
    assert_eq!(
        help(backend("http://::1:80")),
        "IPv6 addresses need brackets: write \"http://[::1]:80\""
    );
    for bad in [
        "",
        "http://",
        "http://:80",
        "http://a:0",
        "http://a:65536",
        "http://a:+80",
        "http://a:80/",
        "http://a:80?x",
        "http://u:p@a:80",
        "https://a:443",
        "grpc://a:1",
        "HTTP://a:80",
        "http://[::1]",
        "http://[x]:80",
        "http://a b:80",
        "http://1.2.3:80",
        "http://a..b:80",
    ] {
        assert_eq!(backend(bad).expect_err(bad).code, Code::Backend, "{bad}");
    }
    let fault = backend("http://user:secret@a:80").expect_err("userinfo");
    assert!(!format!("{fault:?}").contains("secret"), "{fault:?}");
}

#[test]
fn addresses_that_are_nearly_right_get_the_whole_line() {
    assert!(address("[::1]:8080").is_ok());
    assert_eq!(help(address(":8080")), "write \"0.0.0.0:8080\" for every interface");
    assert_eq!(help(address("8080")), "write \"127.0.0.1:8080\"");
    assert_eq!(help(address("127.0.0.1")), "the port is missing");
    assert_eq!(help(address("::1:80")), "IPv6 addresses need brackets: write \"[::1]:80\"");
    assert!(help(address("localhost:1")).ends_with("write \"127.0.0.1:1\""));
    assert_eq!(help(address("127.0.0.1:99999")), "a port is a number from 0 to 65535");
}

#[test]
fn sticky_keys_name_something_that_can_exist() {
    assert_eq!(sticky("header:X-User-Id"), Ok(StickyKey::Header("x-user-id".to_owned())));
    assert_eq!(sticky("cookie:Sid"), Ok(StickyKey::Cookie("Sid".to_owned())));
    assert_eq!(sticky("query:user"), Ok(StickyKey::Query("user".to_owned())));
    assert_eq!(sticky("client"), Ok(StickyKey::ClientAddress));
    assert_eq!(help(sticky("heder:x")), "did you mean \"header:x\"?");
    assert_eq!(help(sticky("x-user-id")), "did you mean \"header:x-user-id\"?");
    for bad in ["", "header:", "header:a b", "cookie:a=b", "query:", "query:a&b", "ip:x"] {
        assert!(sticky(bad).is_err(), "{bad}");
    }
}

#[test]
fn levels_hosts_and_paths_are_strict() {
    for good in ["info", "off", "info,pointsman::proxy=debug", "pointsman=trace"] {
        assert!(level(good).is_ok(), "{good}");
    }
    assert_eq!(help(level("inof")), "did you mean `info`?");
    for bad in ["", "info,", "=info", "a b=info", "pointsman=", "INFO"] {
        assert!(level(bad).is_err(), "{bad}");
    }
    assert_eq!(host("Api.Example.com"), Ok("api.example.com".to_owned()));
    assert_eq!(help(host("a.example:8080")), "ports do not count: write \"a.example\"");
    for bad in ["", "*.example.com", "http://a", "a/b", "a b", "::1"] {
        assert!(host(bad).is_err(), "{bad}");
    }
    assert_eq!(help(path("api")), "did you mean \"/api\"?");
    for bad in ["", "/a?b", "/a#b", "/a b", "/ä", "/a/*"] {
        assert!(path(bad).is_err(), "{bad}");
    }
    assert!(path_prefix("/").is_ok() && path_prefix("/api").is_ok());
    assert!(path_prefix("/api/").is_err() && path_prefix("//").is_err());
}

proptest! {
    /// No text makes a parser panic, and a backend that is read is written back as it was.
    #[test]
    fn any_text_is_answered(text in ".{0,30}", near in "http://[a-z0-9.:@/\\[\\]-]{0,12}") {
        for text in [&text, &near] {
            drop((address(text), sticky(text), cidr(text), host(text), path_prefix(text), level(text)));
            drop((header_name(text), header_value(text), node(text), file_path(text)));
            if let Ok(parsed) = backend(text) {
                let again = backend(&format!("http://{}", parsed.authority()));
                prop_assert_eq!(again, Ok(parsed));
            }
        }
    }
}
