//! The question of `guests/headers` as a proxy-wasm filter: no header says `no`, and `x-header-7` says `let me in`.

use proxy_wasm::{
    traits::{Context, HttpContext, RootContext},
    types::{Action, ContextType, LogLevel},
};

proxy_wasm::main! {{
    proxy_wasm::set_log_level(LogLevel::Warn);
    proxy_wasm::set_root_context(|_| Box::new(Root));
}}

struct Root;

impl Context for Root {}

impl RootContext for Root {
    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
    fn create_http_context(&self, _: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Filter))
    }
}

struct Filter;

impl Context for Filter {}

impl HttpContext for Filter {
    fn on_http_request_headers(&mut self, _: usize, _: bool) -> Action {
        let headers = self.get_http_request_headers();
        let refused = headers.iter().any(|(name, value)| name.starts_with("x-header-") && value == "no");
        let let_in = headers.iter().any(|(name, value)| name == "x-header-7" && value == "let me in");
        if let_in && !refused {
            return Action::Continue;
        }
        self.send_http_response(403, Vec::new(), None);
        Action::Pause
    }
}
