;; W-10: an answer that is neither ok nor err
;; outcome: call contract
;; says: its answer can't be read
;; cost: quick

;;@route
(drop (call $forward)) (i32.store8 (i32.const 1024) (i32.const 2)) (return (i32.const 1024))
