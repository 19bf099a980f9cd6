;; W-07, W-24, W-25: imports a clock
;; outcome: refused
;; says: it imports wasi:clocks/monotonic-clock@0.2.0
;; cost: quick

;;@component
(component (import "wasi:clocks/monotonic-clock@0.2.0" (instance (export "now" (func (result u64))))))
