//! Asking a gateway over HTTP.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::{MASTER, RARE, TEAMS, active, key_text, token};
use tollway_ledger::sample;

/// How long an answer may take.
const BOUND: Duration = Duration::from_millis(300);

/// The days of all receipts, those of one day, an hour, and hours that begin within a minute.
const MONTH: &str = "start_date=2026-10-21&end_date=2026-11-20";
const DAY: &str = "start_date=2026-11-01&end_date=2026-11-01";
const HOUR: &str = "start_date=2026-11-01%2010:00:00&end_date=2026-11-01%2010:59:59";
const ODD: &str = "start_date=2026-10-25%2007:13:11&end_date=2026-11-17%2021:40:59";

pub(super) fn ask(address: &str, keys: u64) {
    let mut asker = Asker::new(address);
    lookups(address, keys);
    println!(
        "{:<74} {:>6} {:>9} {:>9} {:>9} {:>9}",
        "question", "status", "bytes", "first ms", "median ms", "whole ms"
    );
    let all = questions(keys);
    let (mut slow, mut refused) = (0, 0);
    for question in &all {
        let (first, median, answer) = asker.times(question);
        let over = median > BOUND;
        let mark = if over { " over" } else { "" };
        let millis = |time: Duration| time.as_secs_f64() * 1e3;
        println!(
            "{question:<74} {:>6} {:>9} {:>9.1} {:>9.1} {:>9.1}{mark}",
            answer.status,
            answer.bytes,
            millis(first),
            millis(median),
            millis(answer.whole)
        );
        slow += usize::from(over);
        refused += usize::from(answer.status == 400);
    }
    println!(
        "{} questions: {slow} took more than {} ms, {refused} were refused",
        all.len(),
        BOUND.as_millis()
    );
}

/// What a call waits for: a key that is remembered, one that is seen for the first time, and one that nobody has.
fn lookups(address: &str, keys: u64) {
    let mut asker = Asker::new(address);
    let mut timed = |what: &str, key: &dyn Fn(u64) -> String, expected: u16| {
        let mut took: Vec<Duration> = (0..400)
            .map(|number| {
                asker.key = key(number);
                let begun = Instant::now();
                let answer = asker.get("/v1/models");
                assert_eq!(answer.status, expected, "{what}");
                begun.elapsed()
            })
            .collect();
        took.sort();
        let (median, worst) = (took.get(took.len() / 2), took.get(took.len() * 99 / 100));
        let micros = |time: Option<&Duration>| time.map_or(0, |time| time.as_micros());
        println!(
            "{what:<40} median {:>6} µs, of a hundred the worst {:>6} µs",
            micros(median),
            micros(worst)
        );
    };
    timed("the master key", &|_| MASTER.to_owned(), 200);
    if keys > 0 {
        timed("a key, first seen", &|number| key_text(number * 2477 % keys), 200);
        timed("a key, remembered", &|number| key_text(number % 20 * 2477 % keys), 200);
    }
    // So that guessing is not what is measured, few.
    asker.key = String::new();
}

/// Every list and every answer about spending.
fn questions(keys: u64) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut add = |text: &str| found.push(text.to_owned());
    for sort in
        ["created_at", "updated_at", "key_alias", "user_id", "team_id", "token", "spend", "max_budget"]
    {
        for order in ["asc", "desc"] {
            add(&format!("/key/list?size=100&sort_by={sort}&sort_order={order}"));
        }
    }
    let (deep, one) = (keys.saturating_sub(1) / 100, active(keys) - 3);
    for rest in [
        "",
        "?return_full_object=true&size=100",
        "?size=100&page=1000",
        &format!("?size=100&page={deep}"),
        &format!("?size=100&page={deep}&sort_by=key_alias&sort_order=desc"),
        "?team_id=team-7&size=100&return_full_object=true",
        "?user_id=user-7&return_full_object=true",
        "?key_alias=alias%207",
        "?key_alias=99",
        "?key_alias=nobody%27s",
        &format!("?key_hash={}", token(7)),
    ] {
        add(&format!("/key/list{rest}"));
    }
    add(&format!("/key/info?key={}", token(7)));
    add(&format!("/key/aliases?size=100&page={deep}"));
    for list in [
        "/team/list",
        "/v2/team/list?page_size=100",
        "/v2/team/list?page_size=100&sort_by=spend&sort_order=desc",
        "/v2/team/list?search=99",
        "/team/list?user_id=user-7",
        "/team/info?team_id=team-7",
        "/user/list",
        "/user/list?page_size=100&page=1000",
        "/user/list?page_size=100&sort_by=spend&sort_order=desc",
        "/user/list?user_email=user77",
        "/user/list?role=internal_user",
        "/user/info?user_id=user-7",
        "/customer/list",
        "/customer/list?page_size=100&page=100",
        "/spend/keys",
        "/spend/users",
        "/spend/users?user_id=user-7",
        "/spend/tags",
        "/global/spend",
        "/global/spend/logs",
        "/global/spend/keys",
        "/global/spend/keys?limit=100",
        "/global/spend/models",
        "/global/spend/teams",
        "/global/spend/provider",
        "/global/spend/tags",
    ] {
        add(list);
    }
    for range in [MONTH, DAY, ODD] {
        for route in [
            "/spend/logs",
            "/spend/tags",
            "/global/spend/keys",
            "/global/spend/models",
            "/global/spend/teams",
            "/global/spend/provider",
            "/global/spend/tags",
            "/global/spend/report",
            "/global/activity",
            "/global/activity/model",
            "/user/daily/activity",
            "/team/daily/activity",
            "/tag/daily/activity",
            "/customer/daily/activity",
            "/user/daily/activity/aggregated",
        ] {
            add(&format!("{route}?{range}"));
        }
    }
    for rest in [
        "/global/spend/report?group_by=customer",
        "/global/spend/report?group_by=api_key",
        "/global/spend/report?team_id=team-7",
        "/global/spend/report?internal_user_id=user-7",
        "/global/spend/report?customer_id=customer-7",
        "/user/daily/activity?user_id=user-7",
        &format!("/user/daily/activity?user_id=user-{one}"),
        "/user/daily/activity?user_id=nobody",
        &format!("/user/daily/activity?api_key={}", token(7)),
        "/user/daily/activity?model=rare",
        "/team/daily/activity?team_ids=team-7",
        &format!("/team/daily/activity?team_ids=team-{}", TEAMS - 1),
        "/team/daily/activity?exclude_team_ids=team-7",
        "/tag/daily/activity?tags=production",
        "/tag/daily/activity?tags=rare",
        "/customer/daily/activity?end_user_ids=customer-7",
        "/key/spend/report?api_key=sk-large-00000007",
        "/user/spend/report?user_id=user-7",
        "/team/spend/report?team_id=team-7",
        "/spend/logs?user_id=user-7",
        "/spend/logs?api_key=sk-large-00000007",
    ] {
        add(&format!("{rest}{}{MONTH}", if rest.contains('?') { "&" } else { "?" }));
    }
    found.extend(logs(one));
    found
}

/// Lists of calls, by everything they can be asked by.
fn logs(quiet: u64) -> Vec<String> {
    let seen = sample::receipt(RARE + 7);
    let mut found = vec![
        format!("/receipts/{}", seen.id),
        "/receipts/nobody's".to_owned(),
        "/receipts?limit=1000".to_owned(),
        format!("/spend/logs/ui/{}", seen.id),
        format!("/spend/logs?request_id={}", seen.id),
        "/spend/logs".to_owned(),
        "/spend/logs?summarize=false&start_date=2026-11-01".to_owned(),
        "/spend/logs?user_id=user-7".to_owned(),
        "/spend/logs?api_key=sk-large-00000007".to_owned(),
        "/spend/logs?api_key=sk-nobody".to_owned(),
        "/spend/logs/session/ui?session_id=session-3".to_owned(),
        format!("/spend/logs/v2?page_size=100&{ODD}&model=rare"),
        format!("/spend/logs/v2?page_size=100&{ODD}&tag=production"),
        format!("/spend/logs/v2?page_size=100&{DAY}"),
        "/spend/logs/v2?page_size=1000".to_owned(),
        "/spend/logs/v2?page_size=100&page=150".to_owned(),
        "/spend/logs/v2?page_size=1000&model=rare".to_owned(),
        "/spend/logs/v2?page_size=1000&model=model-3".to_owned(),
    ];
    for filter in [
        "".to_owned(),
        "api_key=sk-large-00000007".to_owned(),
        format!("api_key={}", token(quiet)),
        "api_key=sk-nobody".to_owned(),
        "key_alias=alias%207".to_owned(),
        "user_id=user-7".to_owned(),
        "team_id=team-7".to_owned(),
        "team_id=nobody".to_owned(),
        "organization_id=rare".to_owned(),
        "organization_id=organization".to_owned(),
        "organization_id=nobody".to_owned(),
        "end_user=customer-7".to_owned(),
        "model=model-3".to_owned(),
        "model=rare".to_owned(),
        "model=nobody".to_owned(),
        "model_group=group-3".to_owned(),
        "model_group=rare".to_owned(),
        "model_id=deployment-3".to_owned(),
        "model_id=rare".to_owned(),
        "custom_llm_provider=openai".to_owned(),
        "custom_llm_provider=rare".to_owned(),
        "session_id=session-3".to_owned(),
        "tag=production".to_owned(),
        "tag=rare".to_owned(),
        "tag=nobody".to_owned(),
        "status_filter=success".to_owned(),
        "status_filter=failure".to_owned(),
        "min_spend=0.04999".to_owned(),
        "min_spend=0.0499999".to_owned(),
        "min_spend=1".to_owned(),
        "max_spend=0.0000001".to_owned(),
        "team_id=team-7&model=rare".to_owned(),
        "team_id=team-7&status_filter=failure".to_owned(),
        "user_id=user-7&min_spend=0.0499".to_owned(),
        "model=rare&status_filter=failure".to_owned(),
        "model=rare&custom_llm_provider=openai".to_owned(),
    ] {
        found.push(format!("/spend/logs/v2?page_size=100&{filter}"));
    }
    found.extend(orders(quiet));
    found
}

/// Lists in every other order.
fn orders(quiet: u64) -> Vec<String> {
    let mut found = Vec::new();
    for by in ["startTime", "endTime", "spend", "total_tokens", "request_duration_ms", "ttft_ms", "model"] {
        for of in [
            HOUR.to_owned(),
            format!("user_id=user-{quiet}"),
            "team_id=team-777".to_owned(),
            format!("{DAY}&team_id=team-7"),
            "model=rare".to_owned(),
            format!("{HOUR}&model=model-3"),
        ] {
            found.push(format!("/spend/logs/v2?page_size=100&sort_by={by}&sort_order=asc&{of}"));
        }
    }
    found.push(format!("/spend/logs/v2?page_size=100&page=90&sort_by=spend&sort_order=desc&{HOUR}"));
    found.push("/spend/logs/v2?page_size=100&sort_by=spend&sort_order=desc".to_owned());
    found
}

/// One connection.
struct Asker {
    address: String,
    key: String,
    stream: Option<BufReader<TcpStream>>,
}

impl Asker {
    fn new(address: &str) -> Asker {
        Asker { address: address.to_owned(), key: MASTER.to_owned(), stream: None }
    }

    /// How long the first answer took to its first bytes, the median of three more, and the last of them.
    fn times(&mut self, question: &str) -> (Duration, Duration, Answer) {
        let first = self.get(question);
        // What takes this long is not asked again to be sure.
        let count = if first.whole > Duration::from_secs(20) { 0 } else { 3 };
        let mut answers: Vec<Answer> = (0..count).map(|_| self.get(question)).collect();
        answers.sort_by_key(|answer| answer.begun);
        let median = answers.get(answers.len() / 2).copied().unwrap_or(first);
        (first.begun, median.begun, median)
    }

    fn get(&mut self, question: &str) -> Answer {
        self.stream = Some(self.stream.take().unwrap_or_else(|| {
            let stream = TcpStream::connect(&self.address).unwrap();
            stream.set_nodelay(true).unwrap();
            BufReader::new(stream)
        }));
        let stream = self.stream.as_mut().unwrap();
        let request = format!(
            "GET {question} HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {}\r\n\r\n",
            self.address, self.key
        );
        let asked = Instant::now();
        stream.get_mut().write_all(request.as_bytes()).unwrap();
        let (mut status, mut length) = (0, None);
        loop {
            let line = line(stream);
            if line.is_empty() {
                break;
            }
            if let Some(rest) = line.strip_prefix("http/1.1 ") {
                status = rest.get(..3).and_then(|code| code.parse().ok()).unwrap_or(0);
            }
            if let Some(rest) = line.strip_prefix("content-length: ") {
                length = Some(rest.parse().unwrap());
            }
        }
        let begun = asked.elapsed();
        let bytes = match length {
            Some(length) => skip(stream, length),
            // In chunks, each with its length, and an empty one at the end.
            None => {
                let mut bytes = 0;
                loop {
                    let length = u64::from_str_radix(&line(stream), 16).unwrap();
                    bytes += skip(stream, length);
                    line(stream);
                    if length == 0 {
                        break bytes;
                    }
                }
            }
        };
        // A whole answer is there when all of it is.
        let whole = asked.elapsed();
        Answer { status, bytes, begun: if length.is_some() { whole } else { begun }, whole }
    }
}

/// What came.
#[derive(Debug, Clone, Copy)]
struct Answer {
    status: u16,
    bytes: u64,
    /// To its end, or, of one that is made while it is sent, to its first bytes.
    begun: Duration,
    /// To its end.
    whole: Duration,
}

fn line(stream: &mut BufReader<TcpStream>) -> String {
    let mut line = String::new();
    stream.read_line(&mut line).unwrap();
    line.trim_end().to_ascii_lowercase()
}

fn skip(stream: &mut BufReader<TcpStream>, length: u64) -> u64 {
    let skipped = std::io::copy(&mut stream.take(length), &mut std::io::sink()).unwrap();
    assert_eq!(skipped, length, "the answer broke off");
    length
}
