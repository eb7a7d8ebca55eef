//! The library's public API: the items that the binary, tests, benches and examples use. Everything else is private, so
//! that the compiler reports unused and undocumented items.
//!
//! To embed a sidecar, start with [`app::App`], [`app::Options`], [`config::parse`] and [`live::Source`].

pub use crate::cli::main;

pub mod admin {
    //! The model behind `/status` and `/metrics`.

    pub use crate::admin::{BackendView, PercentView, RouteView, View};

    pub mod metrics {
        //! The page of `/metrics`.

        pub use crate::admin::metrics::{Format, render};
    }
}

pub mod app {
    //! A running sidecar.

    pub use crate::app::{App, Ended, Notifier, Options, Signals, Sockets, StartError};
}

pub mod backend {
    //! Backends made ready for requests.

    pub use crate::backend::{
        AnswerBody, Auth, BodyError, Client, Connector, Facts, Failure, ModelEnd, ModelEnds, Passing, PrepareError,
        Quota, RequestBody, SendError, Stream, Target, TlsError,
    };

    pub mod tls {
        //! TLS towards backends.

        pub use crate::backend::tls::provider;
    }
}

pub mod choose {
    //! The choice of a backend.

    pub use crate::choose::{
        Availability, Body, Choice, Drawn, Eligible, Facts, FileOnly, Instead, Intervals, Key, Known, Lack, Moved,
        NotChosen, Purpose, Refused, Request, Salt, Salts, Sample, Shares, UNITS, choose, find_key, instead, unit,
    };
}

pub mod compare {
    //! The comparison of two answers.

    pub use crate::compare::{
        Answer, Asked, AskedSchema, Call, Format, Kind, LegOutcome, LegScores, Mode, NullReason, Reading, Schemas,
        Score, Scores, Side, Sizes, Value, leg, pair,
    };
}

pub mod config {
    //! rollout.toml, read and validated.

    pub use crate::config::{
        ApiKey, Backend, BackendUrl, Breaker, Config, ConfigError, EditError, Failover, Guard, GuardAction,
        GuardErrors, Keep, KeySource, LateSystem, Limits, Listen, LogprobsPolicy, Notify, NotifyFormat, OwnWording,
        PemFile, PemKey, Place, Price, Problem, Proxy, ReasoningPolicy, Records, RequestMatch, Residency, Resumed,
        Route, RouteShadow, SecretSource, Secrets, Server, Shadow, Shifted, Telemetry, Timeouts, TlsFiles, TokenPrice,
        Translation, WordingMode, Writer, WrittenBy, describe, load, parse, resume, shift, undo, warnings, written_by,
    };
}

pub mod demo {
    //! Simulated servers with traces.

    pub use crate::demo::Servers;
}

pub mod exchange {
    //! One request to one backend, without a client.

    pub use crate::exchange::{
        AnswerStream, Capture, Inbound, InboundBody, LegError, Next, Opened, OpenedBody, Plan, PlanError, Room,
        SdkTimeouts, StreamEnd, collect, open, read_to_end,
    };
}

pub mod fleet {
    //! Questions to backends off the request path.

    pub use crate::fleet::PollIntervals;

    pub mod probe {
        //! The conformance probe of backends.

        pub use crate::fleet::probe::{Asked, Feature, Report, Row, Verdict, probe};
    }
}

pub mod guard {
    //! Tests of a candidate's failures, and what follows.

    pub use crate::guard::{
        BaselineHealth, BreakerChange, Cause, Ended, Entry, EntryCause, EntryMove, Event, Evidence, FileFacts, Guard,
        HISTORY, HOLD, Identity, LN_MOST, Ledger, Lift, MOST_BYTES, MULTIPLE, Move, MoveKind, Now, OtherSide, Outlook,
        Recurrence, Reloaded, Report, Saved, SavedHold, Side, Sides, State, StateError, StateFile, Sums, Tally, Ticket,
        Trial, Verdict, Waiting, Weight, needs, table,
    };
}

pub mod health {
    //! Breakers, cool-downs and loads.

    pub use crate::health::{Budget, Health, Limits, Load, LoadReport, Reading, Report, Sample, State, Ticket, Unfit};
}

pub mod live {
    //! The state in force and how it is replaced.

    pub use crate::live::{Admission, InForce, LoadError, ReloadError, RouteHandle, Shutdown, Snapshot, Source, Store};

    pub mod watch {
        //! The watcher of the file.

        pub use crate::live::watch::{Reading, Timing, WatchHandle, watch};
    }
}

pub mod model {
    //! The vocabulary that every room shares.

    pub use crate::model::{
        BackendId, CancelledBy, Cause, ContextLength, CopyResult, End, Engine, EngineFacts, ErrorDialect, Family,
        Fault, FormatBesideTools, Glob, Hints, ImageDetail, JsonObjectFormat, JsonSchemaFormat, Limit, MissingFeatures,
        PairResult, ParallelCalls, Percent, PercentError, Pin, Reason, Refusal, RouteId, Secret, Seeds, SpanId,
        ThinkingSwitch, TraceContext, TraceId,
    };
}

pub mod otlp {
    //! Export of spans to a collector.

    pub use crate::otlp::Bridge;
}

pub mod outcome {
    //! Facts and verdicts of legs and requests.

    pub use crate::outcome::{
        Attempt, BackendLabels, Blame, Clock, Comparison, ConnUse, Decided, Ending, LegEnd, LegKind, Miss, MissKind,
        OtherAnswer, Outcome, Overhead, Pair, Params, Restricted, Role, Score, Trail, Verdict, WaitedTime, judge,
    };
}

pub mod proxy {
    //! The listener for applications.

    pub use crate::proxy::{BindError, ClientTimeouts, Inherited, Listener, Proxy};
}

pub mod records {
    //! The file of pairs and counts.

    pub use crate::records::{
        BackendCounts, BackendTotals, CountsLine, Cut, Ms, Rfc3339, Rounded, RouteTotals, Score, Source, Totals, Usd,
        Writer, counts,
    };
}

pub mod report {
    //! The report of records.

    pub use crate::report::{
        Bounds, BreakEven, Check, CheckResult, Collector, Cost, CostSide, Curves, Ends, Filter, Flip, FlipFloor, Flips,
        GpuPrices, Histogram, Interval, Kind, KindFloor, Lines, MAX_LINE, Matrix, Means, Median, MedianRatio, Money,
        NotATime, Note, Other, Pairing, Quantiles, Report, Route, Row, Scale, Served, Shadow, Share, Sides, Skipped,
        Times, TokenSums, Total, TotalRow, Ttft, Verdict, Worst, each_line, html, instant, markdown, mean,
        median_ratio, text, verdicts,
    };
}

pub mod rollback {
    //! The guard at work.

    pub use crate::rollback::{CandidateGuard, FaultCount, GuardSeen, Guards, Watched};
}

pub mod shadow {
    //! Copies of requests.

    pub use crate::shadow::{RouteVerdict, ServedCopy, Shadows};
}

pub mod sim {
    //! Simulated servers.

    pub use crate::sim::{
        Aborts, Behaviour, Collector, Difference, Differences, Fault, Form, Load, Received, Sim, SimConfig, Template,
        TracedRequest, Wire, start, start_at,
    };
}

pub mod stats {
    //! Counters, gauges and histograms behind `/status` and `/metrics`.

    pub use crate::stats::{
        BackendStats, Count, Exemplar, Gauge, KindStats, Latency, Lifetimes, NoiseStats, PairingStats, Permit,
        Placement, RecordStats, Reloads, RouteStats, RuleStats, ShadowStats, ShareResults, ShareStats, Signals, Spent,
        Stats, TelemetryStats, View,
    };
}

pub mod telemetry {
    //! Listeners to outcomes.

    pub use crate::telemetry::Sinks;
    pub use crate::telemetry::meters::{CallSeries, Meters};
    pub use crate::telemetry::server_span::ServerSpan;
    pub use crate::telemetry::tracer::{Chunk, Encode, Sampler, Tracer};

    pub mod names {
        //! The table of published names.

        pub use crate::telemetry::names::attribute::ATTRIBUTES;
        pub use crate::telemetry::names::event::EVENTS;
        pub use crate::telemetry::names::label::LABELS;
        pub use crate::telemetry::names::{Convention, METRICS, Metric};
    }
}

pub mod translate {
    //! The translation of requests and answers.

    pub use crate::translate::{
        Action, AnswerSpec, FieldId, Kind, Ledger, Owner, Pinned, Step, TranslateError, TranslateInput, Translated,
        call_id, owner_of_call, owner_of_response, pin_exactly, request, response_id,
    };

    pub mod answer {
        //! The translation of answers.

        pub use crate::translate::answer::{
            BackendError, Ending, Ids, Note, Notes, Stream, Unusable, Whole, refusal, whole,
        };
    }
}

pub mod wire {
    //! OpenAI's format as bytes.

    pub use crate::wire::splice;

    pub mod endpoint {
        //! Endpoints by path.

        pub use crate::wire::endpoint::{Endpoint, Operation};
    }

    pub mod framing {
        //! The check of a request's framing.

        pub use crate::wire::framing::{Fault, Framing};
    }

    pub mod head {
        //! The check of a request's head.

        pub use crate::wire::head::{Wrong, check, is_known};
    }

    pub mod answer_facts {
        //! Facts about an answer.

        pub use crate::wire::answer_facts::{AnswerFacts, AnswerIds, Usage};
        pub use crate::wire::pace::Pace;
    }

    pub mod error_body {
        //! OpenAI's error body.

        pub use crate::wire::error_body::ApiError;
    }

    pub mod observe {
        //! Facts read from passing answers.

        pub use crate::wire::observe::Observer;
    }

    pub mod scan {
        //! The top level of a body.

        pub use crate::wire::scan::{Scan, Scanned, Unparsable, scan};
    }

    pub mod sse {
        //! Events of a stream.

        pub use crate::wire::sse::Framer;
    }
}
