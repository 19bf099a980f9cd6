;; W-09: a list at an odd address
;; outcome: call contract
;; says: its answer can't be read
;; cost: quick

;;@route
(drop (call $forward)) (i32.store (i32.const 1044) (i32.const 1025)) (i32.store (i32.const 1048) (i32.const 1)) (return (i32.const 1024))
