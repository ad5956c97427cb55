//! Opening documents, peeking, and what is read straight from the text; simd-json's tape beside it.

use std::hint::black_box;
use std::time::Duration;

use base64_simd::STANDARD;
use bytes::Bytes;
use criterion::{
    BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main, measurement::WallTime,
};
use mcpgateway_engine::json::{
    DataType, Document, Edit, Fills, Insert, Options, Pointer, Whole, check, peek, with_tape,
};

/// Bytes of each text: more than the cache holds.
const LENGTH: usize = 32 << 20;

/// A text of about `LENGTH` bytes: an object with a list of what `element` makes, and an id behind it.
fn text(element: impl Fn(usize) -> String) -> Bytes {
    let mut text = String::from("{\"list\":[");
    for index in 0.. {
        text.push_str(&element(index));
        if text.len() >= LENGTH {
            break;
        }
        text.push(',');
    }
    text.push_str("],\"id\":7}");
    text.into()
}

fn messages() -> Bytes {
    text(|index| {
        format!(
            r#"{{"kind":"message","role":"agent","messageId":"message-{index:06}","parts":[{{"kind":"text","text":"Cloudy, 14 °C, rain from 16:00 on. The report says:\n\t\"revenue grew by 12 %\" and names no reason."}}]}}"#
        )
    })
}

/// A fraction of eight digits.
fn fraction(index: usize) -> String {
    format!("0.{:08}", (index * 7_919_317) % 100_000_000)
}

fn embeddings() -> Bytes {
    text(|row| {
        format!("[{}]", (0..1024).map(|column| fraction(row * 1024 + column)).collect::<Vec<_>>().join(","))
    })
}

fn table() -> Bytes {
    text(|index| {
        let price = fraction(index);
        format!(
            r#"{{"id":{index},"name":"agent {index}","price":{price},"active":true,"created":"2026-03-01"}}"#
        )
    })
}

fn group<'a>(criterion: &'a mut Criterion, name: &str, text: &Bytes) -> BenchmarkGroup<'a, WallTime> {
    let mut group = criterion.benchmark_group(name);
    group.sample_size(10).warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(2));
    group.throughput(Throughput::Bytes(text.len() as u64));
    group
}

fn open(criterion: &mut Criterion) {
    for (name, text) in [("messages", messages()), ("embeddings", embeddings()), ("table", table())] {
        let options = Options::default();
        let id = Pointer::parse("/id").expect("a pointer");
        let open = || Document::parse(text.clone(), &options).expect("valid");
        assert_eq!(open().root().at(&id).expect("there").raw(), "7");
        assert_eq!(peek(&text, &id, Whole::Yes, &options).expect("there").raw(), "7");
        assert_eq!(with_tape(&text, |_| ()).expect("memory"), Some(()));
        let mut group = group(criterion, "open", &text);
        group.bench_function(format!("document/{name}"), |bencher| bencher.iter(open));
        group.bench_function(format!("check/{name}"), |bencher| bencher.iter(|| check(&text, &options)));
        group.bench_function(format!("peek/{name}"), |bencher| {
            bencher.iter(|| peek(&text, &id, Whole::Yes, &options));
        });
        group.bench_function(format!("simd_json_tape/{name}"), |bencher| {
            bencher.iter(|| with_tape(&text, |tape| drop(black_box(tape))));
        });
    }
}

fn read(criterion: &mut Criterion) {
    let parse = |text: &Bytes| Document::parse(text.clone(), &Options::default()).expect("valid");
    let text = embeddings();
    let list = parse(&text).root().get("list").expect("there");
    let mut group = group(criterion, "read", &text);
    for data_type in [DataType::Float64, DataType::Float32] {
        assert_eq!(list.array(Some(data_type)).expect("numbers").shape[1], 1024);
        group.bench_function(format!("array/{}", data_type.as_str()), |bencher| {
            bencher.iter(|| list.array(Some(data_type)));
        });
    }
    let text = table();
    let list = parse(&text).root().get("list").expect("there");
    let names = ["id", "price", "active"].map(String::from);
    assert_eq!(list.columns(&names, &Fills::default()).expect("alike").len(), 3);
    group.throughput(Throughput::Bytes(text.len() as u64));
    group.bench_function("columns", |bencher| bencher.iter(|| list.columns(&names, &Fills::default())));
    let text = Bytes::from(format!("\"{}\"", STANDARD.encode_to_string(vec![7; LENGTH])));
    let part = parse(&text).root();
    assert_eq!(part.base64().expect("base64").len(), LENGTH as u64);
    group.throughput(Throughput::Bytes(text.len() as u64));
    group.bench_function("base64", |bencher| bencher.iter(|| part.base64()));
}

fn edit(criterion: &mut Criterion) {
    let text = messages();
    let document = Document::parse(text.clone(), &Options::default()).expect("valid");
    let pointer = |text| Pointer::parse(text).expect("a pointer");
    let edit = Edit { pointer: pointer("/id"), insert: Some(Insert::json("8".into()).expect("JSON")) };
    assert_eq!(document.splice(std::slice::from_ref(&edit)).expect("possible").len(), text.len() as u64);
    let mut group = group(criterion, "edit", &text);
    group.bench_function("replace_id", |bencher| {
        bencher.iter(|| document.splice(std::slice::from_ref(&edit)));
    });
    let last = pointer("/list/1000/parts/0/text");
    group.bench_function("pointer", |bencher| bencher.iter(|| document.root().at(&last)));
}

criterion_group!(benches, open, read, edit);
criterion_main!(benches);
