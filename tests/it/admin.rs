//! What the admin listener shows.

use crate::support::{Client, Gateway, IRIS_BODY, iris};

#[test]
fn health_metrics_and_status_are_served() {
    let gateway = Gateway::start(&iris());
    let get = |path: &str| {
        let mut client = Client::connect(gateway.admin);
        client.send(&format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n"));
        client.reply()
    };
    assert_eq!((get("/livez").status, get("/readyz").status, get("/nope").status), (200, 200, 404));
    for _ in 0..3 {
        assert_eq!(gateway.post("/v2/models/iris/infer", IRIS_BODY).status, 200);
    }
    gateway.wait_for_records(3);
    let series = r#"{model="iris",version="v1",pool="",outcome="ok"}"#;
    gateway.metric_is(&format!("pointsman_requests_total{series}"), 3.0);
    let count = r#"pointsman_request_duration_seconds_count{model="iris",version="v1",pool=""}"#;
    gateway.metric_is(count, 3.0);
    let infinite =
        r#"pointsman_request_duration_seconds_bucket{model="iris",version="v1",pool="",le="+Inf"}"#;
    gateway.metric_is(infinite, 3.0);
    gateway.metric_is("pointsman_ready", 1.0);
    gateway.metric_is("pointsman_log_records_written_total", 3.0);
    let status = get("/api/v1/status").json();
    assert_eq!(status["models"]["iris"]["versions"]["v1"]["permille"], 1000);
    let artifact = &status["models"]["iris"]["versions"]["v1"]["artifact"];
    assert!(artifact["digest"].as_str().unwrap().starts_with("sha256:"), "{artifact}");
    assert!(artifact["memory"].as_u64().unwrap() > 0 && artifact["interface"].is_null());
    assert_eq!(status["log"]["written"], 3);
    assert!(get("/api/v1/openapi.json").json()["paths"]["/v2/models/{model}/infer"].is_object());
}
