;; W-10: a decision of a kind that there is not
;; outcome: call contract
;; says: its answer can't be read
;; cost: quick

;;@route
(drop (call $forward)) (i32.store8 (i32.const 1028) (i32.const 7)) (return (i32.const 1024))
