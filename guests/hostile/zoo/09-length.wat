;; W-09: a name of 4 GiB
;; outcome: call contract
;; says: its answer can't be read
;; cost: quick

;;@route
(drop (call $forward)) (i32.store (i32.const 1036) (i32.const 0xffffffff)) (return (i32.const 1024))
