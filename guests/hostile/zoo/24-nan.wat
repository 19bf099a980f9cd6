;; W-24: looks at the bits of 0/0, which processors disagree on: here they are always the same
;; outcome: forward 2143289344
;; cost: quick

;;@route
(drop (call $forward))
(i32.store (i32.const 1040) (i32.reinterpret_f32 (f32.div (f32.const 0) (f32.const 0))))
(return (i32.const 1024))
