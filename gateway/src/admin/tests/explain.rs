//! Who may ask what would become of a request.

use super::*;

const PATH: &str = "/admin/v2/explain";

#[tokio::test]
async fn a_question_is_answered_and_a_wrong_one_names_its_field() {
    let api = Api::new();
    let answer = api.post(PATH, &json!({"url": "/a"})).await;
    assert_eq!((answer.status.as_u16(), answer.json()), (200, json!({"asked": {"url": "/a"}})));
    for (url, status, field) in [("wrong", 422, json!("url")), ("busy", 503, Value::Null)] {
        let answer = api.post(PATH, &json!({"url": url})).await;
        assert_eq!((answer.status.as_u16(), &answer.json()["field"]), (status, &field), "{}", answer.body);
    }
    let answer = api.call(Method::POST, PATH, "{").await;
    assert_eq!(answer.status, 400, "{}", answer.body);
    assert_eq!(api.call(Method::GET, PATH, "").await.status, 405);
}

#[tokio::test]
async fn a_change_is_tried_out_as_it_would_be_stored_and_is_not_stored() {
    let api = Api::new();
    let sealed = "sealed:v1:test:1";
    api.store.put(&format!("{P}gw/services/s"), &json!({"tls": {"cert": "c", "key": sealed}}).to_string());
    let before = api.store.dump();
    let value = json!({"max_tries": 2, "tls": {"cert": "c", "key": "unchanged"}});
    let change = json!({"path": "services/s", "value": value});
    let answer = api.post(PATH, &json!({"url": "/a", "change": change})).await;
    let asked = &answer.json()["asked"]["change"];
    assert_eq!(
        (&asked["path"], &asked["value"]["tls"]["key"]),
        (&json!("gw/services/s"), &json!(sealed)),
        "{}",
        answer.body
    );
    let answer =
        api.post(PATH, &json!({"url": "/a", "change": {"path": "services/s", "value": {"balancer": "dice"}}})).await;
    assert_eq!((answer.status.as_u16(), &answer.json()["field"]), (422, &json!("change.value.balancer")));
    assert_eq!(api.store.dump(), before);
}
