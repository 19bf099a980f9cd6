;; W-11: a name of 64 MB, all of it there
;; outcome: call contract
;; says: is too large
;; cost: budget
;; memory: 64 MiB

;;@route
(drop (memory.grow (i32.const 1000)))
(drop (call $forward)) (i32.store (i32.const 1036) (i32.const 64000000)) (return (i32.const 1024))
