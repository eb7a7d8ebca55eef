//! Messages to a receiver.

use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use super::*;

async fn receiver(statuses: &[u16]) -> (String, tokio::sync::mpsc::Receiver<Vec<u8>>) {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/services/T0/canary-token", socket.local_addr().unwrap());
    let (bodies, received) = tokio::sync::mpsc::channel(16);
    let statuses = statuses.to_vec();
    tokio::spawn(async move {
        let mut statuses = statuses.into_iter();
        loop {
            let (mut stream, _) = socket.accept().await.unwrap();
            let request = read_request(&mut stream).await.unwrap();
            let status = statuses.next().unwrap_or(200);
            let head = format!("HTTP/1.1 {status} x\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n");
            stream.write_all(head.as_bytes()).await.unwrap();
            bodies.send(request).await.unwrap();
        }
    });
    (url, received)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_under_way_is_delivered_before_the_process_ends_or_its_loss_is_said() {
    let [openai, qwen, other] = sims().await;
    // The first try is refused: the process is told to end while the second one waits.
    let (url, mut received) = receiver(&[500]).await;
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent = format!("http://{}/hook", silent.local_addr().unwrap());
    for (url, is_there) in [(url.as_str(), true), (silent.as_str(), false)] {
        let folder = tempfile::tempdir().unwrap();
        let guard = format!("{QUICK}\nnotify = {{ url = \"{url}\" }}");
        let text = guarded(&[&openai, &qwen, &other], "qwen = 50", &guard, "drain = \"1s\"");
        let mut process = start(folder.path(), &text);
        trip((process.listen, process.admin.parse().unwrap()), &qwen).await;
        if is_there {
            tokio::time::timeout(PATIENCE, received.recv()).await.unwrap().unwrap();
        }
        process.signal("-TERM");
        let lost = "the process ends before the guard's messages were delivered: look at guard.notify";
        let mut is_said = false;
        while let Some(Ok(line)) = process.lines.next() {
            is_said |= line.contains(lost) && line.contains("\"lost\":1");
        }
        assert_eq!(process.child.wait().unwrap().code(), Some(0));
        assert_eq!(is_said, !is_there);
    }
    let again = tokio::time::timeout(PATIENCE, received.recv()).await.unwrap().unwrap();
    assert!(String::from_utf8(again).unwrap().contains("\"event\":\"held\""));
}

#[tokio::test]
async fn a_receiver_is_told_and_its_url_is_nowhere_else() {
    let [openai, qwen, other] = sims().await;
    let (url, mut received) = receiver(&[500]).await;
    let guard = format!("{QUICK}\nnotify = {{ url = \"{url}\" }}");
    let text = guarded(&[&openai, &qwen, &other], "qwen = 50", &guard, "");
    let running = launch(&text, true).await;
    tripped(&running, &qwen).await;
    let next = async |received: &mut tokio::sync::mpsc::Receiver<Vec<u8>>| {
        let request = tokio::time::timeout(PATIENCE, received.recv()).await.unwrap().unwrap();
        let text = String::from_utf8(request).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").map(|(head, body)| (head.to_owned(), body.to_owned())).unwrap();
        (head, serde_json::from_str::<Value>(&body).unwrap())
    };
    let (head, refused) = next(&mut received).await;
    assert!(head.starts_with("POST /services/T0/canary-token HTTP/1.1"), "{head}");
    let (_, message) = next(&mut received).await;
    assert_eq!(refused, message, "the second try");
    assert_eq!((&message["event"], &message["candidate"]), (&"held".into(), &"qwen".into()));
    assert_eq!((&message["baseline"], &message["cause"]), (&"openai".into(), &"errors".into()));
    assert_eq!(message["percents"], serde_json::json!({"default": 50.0}));
    let fields =
        ["since", "why", "rate", "trials", "counted", "evidence", "threshold", "trace_ids", "instance", "hash"];
    assert!(fields.iter().all(|field| !message[field].is_null()), "{message}");
    assert!(!message["trace_ids"].as_array().unwrap().is_empty());
    eventually_async(async || {
        get(running.app.admin, "/metrics").await.text().contains("shiftgate_guard_notify_total{result=\"sent\"} 1")
    })
    .await;
    // A lift is told too, to a chat in its form.
    save(&running, &text.replace("alpha = 0.5", "alpha = 0.5\nresume = 1").replace("\" }", "\", format = \"slack\" }"))
        .await;
    let (_, chat) = next(&mut received).await;
    let keys: Vec<&String> = chat.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["text"]);
    assert!(chat["text"].as_str().unwrap().contains("qwen lifted"), "{chat}");
    for page in ["/status", "/metrics", "/history"] {
        assert!(!get(running.app.admin, page).await.text().contains("canary-token"), "{page}");
    }
    assert!(!format!("{:?}", running.app).contains("canary-token"));
}
