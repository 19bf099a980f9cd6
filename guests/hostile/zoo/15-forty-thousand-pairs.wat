;; W-15: 40,000 pairs in `extra`
;; outcome: call contract
;; says: is too large
;; cost: quick

;;@route
(drop (call $forward)) (i32.store (i32.const 1044) (i32.const 8192)) (i32.store (i32.const 1048) (i32.const 40000)) (return (i32.const 1024))
