//! What clients of a dialect say in headers: the version that they want, and what their body is.

use crate::dialects::two;
use crate::support::client::post;
use crate::support::{Backend, Gateway, IRIS_BODY};

const ROWS: &str = r#"{"instances":[[5.1,3.5,1.4,0.2]]}"#;

#[test]
fn a_header_of_sagemaker_names_the_version_whether_the_path_names_the_model_or_not() {
    let gateway = Gateway::start(&two());
    for path in ["/invocations", "/models/iris/invoke"] {
        let ask = |variant: &str| {
            let headers = format!(
                "content-type: application/json\r\nx-amzn-sagemaker-target-variant: {variant}\r\n"
            );
            gateway.request(&post(path, &headers, ROWS))
        };
        for (variant, version) in [("v1", "v1"), ("v2", "v2"), ("canary", "v2")] {
            let reply = ask(variant);
            assert_eq!(reply.status, 200, "{path} {variant}: {}", reply.text());
            assert_eq!(reply.header("x-pointsman-version"), Some(version), "{path} {variant}");
        }
        let reply = ask("zz");
        assert_eq!((reply.status, reply.error()), (404, "unknown_version"), "{path}");
    }
}

#[test]
fn a_prediction_that_is_named_a_form_is_json_to_its_backend() {
    let backend = Backend::echo();
    let gateway = Gateway::start(&backend.as_model());
    let form = "application/x-www-form-urlencoded";
    for (headers, told) in [
        (format!("content-type: {form}\r\n"), "application/json"),
        (String::new(), "application/json"),
        (format!("content-type: {form}\r\ninference-header-content-length: 2\r\n"), form),
        ("content-type: text/plain\r\n".to_owned(), "text/plain"),
    ] {
        let reply = gateway.request(&post("/v2/models/m/infer", &headers, IRIS_BODY));
        assert_eq!(reply.status, 200, "{}", reply.text());
        let seen = backend.seen().pop().unwrap();
        assert_eq!(seen.header("content-type"), Some(told), "{headers}");
    }
}
