;; W-09: an answer at an odd address
;; outcome: call contract
;; says: its answer can't be read
;; cost: quick

;;@route
(drop (call $forward)) (return (i32.const 1025))
