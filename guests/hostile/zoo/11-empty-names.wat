;; W-11: a list of four million empty names: 64 MB here, 200 MB in the host if it copied them
;; outcome: call contract
;; says: is too large
;; cost: budget
;; memory: 64 MiB

;;@route
(drop (memory.grow (i32.const 1000)))
(drop (call $forward)) (i32.store (i32.const 1044) (i32.const 8192)) (i32.store (i32.const 1048) (i32.const 4000000)) (return (i32.const 1024))
