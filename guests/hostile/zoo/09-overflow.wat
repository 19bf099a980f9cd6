;; W-09: a name whose end overflows
;; outcome: call contract
;; says: its answer can't be read
;; cost: quick

;;@route
(drop (call $forward)) (i32.store (i32.const 1032) (i32.const 0xfffffff0)) (i32.store (i32.const 1036) (i32.const 0x20)) (return (i32.const 1024))
