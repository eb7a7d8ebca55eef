//! Shares in force: withdrawn and given back without a new reading of the file.

use shiftgate::api::sim::Behaviour;

use crate::support::*;

#[tokio::test]
async fn a_withdrawn_candidate_gets_nothing_of_its_share_and_the_generation_stays() {
    let (openai, qwen) = pair(Behaviour::default()).await;
    let running = launch(&file(&openai, &qwen, 100.0), false).await;
    let asked_by = |answer: &Answer| {
        let header = |name| answer.header(name).map(str::to_owned);
        (header("x-shiftgate-backend").unwrap(), header("x-shiftgate-reason").unwrap())
    };
    let session = "x-session-id: one\r\n";
    let before = ask(&running, &chat("x", false), session).await;
    assert_eq!(asked_by(&before), ("qwen".to_owned(), "split".to_owned()));
    running.app.store.withdraw(vec!["qwen".to_owned()]);
    let during = ask(&running, &chat("x", false), session).await;
    assert_eq!(asked_by(&during), ("openai".to_owned(), "rolled_back".to_owned()));
    let status = running.status().await;
    let route = &status["routes"][0];
    assert_eq!((&status["generation"], &route["percent"]["qwen"]), (&1.into(), &100.0.into()));
    assert_eq!(route["effective"]["qwen"], 0.0);
    assert_eq!((&route["requests"]["openai"], &route["requests"]["qwen"]), (&1.into(), &1.into()));
    assert_eq!((openai.requests(), qwen.requests()), (1, 1));
    running.app.store.withdraw(Vec::new());
    let after = ask(&running, &chat("x", false), session).await;
    assert_eq!(asked_by(&after), ("qwen".to_owned(), "split".to_owned()));
    assert_eq!(running.status().await["routes"][0]["effective"]["qwen"], 100.0);
}
