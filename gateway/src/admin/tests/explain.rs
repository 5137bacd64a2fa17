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
