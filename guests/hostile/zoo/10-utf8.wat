;; W-10: a name that is no UTF-8
;; outcome: call contract
;; says: its answer can't be read
;; cost: quick

;;@route
(drop (call $forward)) (i32.store8 (i32.const 512) (i32.const 0xff)) (return (i32.const 1024))
