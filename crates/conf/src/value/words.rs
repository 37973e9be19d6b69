//! Values that are one of a few words.

use super::Text;
use crate::nearest;

macro_rules! word_value {
    (
        $kind:literal
        $(#[doc = $doc:literal])*
        pub enum $name:ident { $($(#[doc = $variant_doc:literal])* $variant:ident = $word:literal,)* }
    ) => {
        $(#[doc = $doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $($(#[doc = $variant_doc])* $variant,)* }

        impl $name {
            /// The word of the configuration file.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }
        }

        impl Text for $name {
            const KIND: &'static str = $kind;

            fn parse(text: &str) -> Result<Self, String> {
                match text {
                    $($word => Ok(Self::$variant),)*
                    _ => {
                        let hint = nearest::hint(text, [$($word),*]);
                        Err(format!("{text:?} is not {}; {hint}", Self::KIND))
                    }
                }
            }

            fn text(&self) -> String {
                self.as_str().to_owned()
            }
        }
    };
}

word_value! {
    "a sign of readiness"
    /// How a new worker shows that it can take requests.
    pub enum Ready {
        /// It sends `READY=1` to `NOTIFY_SOCKET`.
        Notify = "notify",
        /// It gives any answer to the first warm-up path.
        Http = "http",
    }
}

word_value! {
    "a link"
    /// How requests get to a worker.
    pub enum Link {
        /// Through its segment where the worker knows it, else over HTTP.
        Auto = "auto",
        /// Over HTTP/1.1 on its UNIX socket.
        Http = "http",
    }
}

word_value! {
    "a cost"
    /// What a Python worker counts for each request beside what every worker does.
    pub enum CostHook {
        /// Queries of a database, and the time they take.
        Database = "db",
    }
}

word_value! {
    "a place"
    /// Where a response goes that its client has not taken yet.
    pub enum ResponseBuffering {
        /// To memory, then to the spool; then it waits for the client.
        Spool = "spool",
        /// To memory; then it waits for the client.
        Memory = "memory",
        /// Nowhere: it waits for the client at once.
        Off = "off",
    }
}

word_value! {
    "a format"
    /// How a line of the access log looks.
    pub enum AccessFormat {
        /// `combined`, then key=value pairs: reason, pool, queue, run, id.
        Extended = "extended",
        /// The `combined` format of httpd.
        Combined = "combined",
        /// The `common` format of httpd.
        Common = "common",
        /// One JSON object a line.
        Json = "json",
    }
}

word_value! {
    "a level"
    /// The least important events that the error log has.
    pub enum Level {
        /// Someone has to act at once.
        Error = "error",
        /// Someone should look tomorrow.
        Warn = "warn",
        /// The life of processes and of the configuration.
        Info = "info",
        /// A line a request.
        Debug = "debug",
        /// Everything.
        Trace = "trace",
    }
}

#[cfg(test)]
mod tests {
    use super::super::check_text;
    use super::*;

    #[test]
    fn an_unknown_word_is_refused_with_the_nearest() {
        check_text::<Level>("info", Ok("info"));
        check_text::<Level>("warning", Err("\"warning\" is not a level; did you mean `warn`?"));
        check_text::<AccessFormat>(
            "%h %l",
            Err("\"%h %l\" is not a format; known: extended, combined, common, json"),
        );
        check_text::<Ready>(
            "Notify",
            Err("\"Notify\" is not a sign of readiness; did you mean `notify`?"),
        );
    }
}
